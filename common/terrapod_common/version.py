"""The version that both sides report."""

VERSION = "0.1.0"
