"""The pure parts of a phase: command lines, variables, names, logs."""

from pathlib import Path

import pytest

from terrapod_agent.settings import EnvironmentVariable
from terrapod_agent.work import terraform, variables
from terrapod_agent.work.logs import MaskedLog
from terrapod_agent.work.toolchain import platform_name
from terrapod_common import wire
from tests.kit.agents import phase

T = Path("/t")


def test_the_command_line_of_a_plan() -> None:
    flags = wire.Flags(
        destroy=True, refresh=False, refresh_only=True, targets=["a.b"], replaces=["c.d"]
    )
    assert terraform.plan(T, flags, Path("/values"), Path("/out"))[1:] == (
        *("plan", "-input=false", "-out=/out", "-detailed-exitcode", "-var-file=/values"),
        "-destroy",
        *("-refresh-only", "-refresh=false", "-target=a.b", "-replace=c.d"),
    )
    assert terraform.init(T, "../state", locked=True)[1:] == (
        *("init", "-input=false", "-backend-config=path=../state/terraform.tfstate"),
        *("-backend-config=workspace_dir=../state/workspaces", "-lockfile=readonly"),
    )
    assert terraform.apply(T, Path("/out"))[1:] == ("apply", "-input=false", "/out")


def test_a_replacement_counts_twice_and_data_not_at_all() -> None:
    document = b"""{"resource_changes": [
        {"mode": "managed", "change": {"actions": ["delete", "create"]}},
        {"mode": "managed", "change": {"actions": ["update"], "importing": {"id": "x"}}},
        {"mode": "data", "change": {"actions": ["read", "create"]}},
        {"mode": "managed", "change": {"actions": ["no-op"]}}]}"""
    assert terraform.planned_counts(document) == terraform.Counts(1, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TERRAPOD_AGENT_URL", "x"),
        ("LD_PRELOAD", "x"),
        ("LD_LIBRARY_PATH", "x"),
        ("TF_WORKSPACE", "x"),
        ("TF_DATA_DIR", "x"),
        ("TF_CLI_CONFIG_FILE", "x"),
        ("TF_CLI_ARGS_plan", "-compact-warnings -out=elsewhere"),
        ("TF_CLI_ARGS", '"-state=x"'),
        ("TF_CLI_ARGS_apply", "--state-out x"),
        ("A=B", "x"),
        ("A", "x\0"),
        ("TF_CLI_ARGS_apply", r"\-state-out=x"),
        ("TF_CLI_ARGS_apply", '-"state-out"=x'),
        ("TF_CLI_ARGS_apply", "'--sta''te=x'"),
        ("TF_CLI_ARGS_plan", "-parallelism=3 -destroy"),
    ],
)
def test_reserved_variables(name: str, value: str) -> None:
    assert variables.reserved(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_REGION", "x"), ("TF_CLI_ARGS_plan", "-parallelism=3"), ("TF_LOG", "debug")],
)
def test_variables_that_may_be_set(name: str, value: str) -> None:
    assert not variables.reserved(name, value)


def test_the_environment_is_made_from_nothing() -> None:
    given = [
        wire.RunVariable(key="A", value="1", category="env"),
        wire.RunVariable(key="A", value="2", category="env"),
        wire.RunVariable(key="B", value="3"),
        wire.RunVariable(key="LD_PRELOAD", value="x", category="env"),
    ]
    work = phase(variables=given, environment={"TFC_RUN_ID": "run-1"}).work
    made = variables.environment(work, [EnvironmentVariable("PATH", "/bin")], {"HOME": "/h"})
    assert made.values == {"PATH": "/bin", "A": "2", "TFC_RUN_ID": "run-1", "HOME": "/h"}
    assert made.refused == ("LD_PRELOAD",)


def test_strings_are_escaped_for_hcl() -> None:
    assert variables.quoted('a"b\\\n${c}%{d}') == '"a\\"b\\\\\\n$${c}%%{d}"'


def test_platforms_have_terraforms_names() -> None:
    assert platform_name("Linux", "x86_64") == "linux_amd64"
    assert platform_name("Darwin", "arm64") == "darwin_arm64"


def test_a_log_can_be_read_again_from_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one secret two secret three")
    log = MaskedLog(path, [b"secret"], 1000)
    whole = log.peek(final=True)
    assert whole == b"one *** two *** three"
    for offset in (9, 2, len(whole), 0):
        log.advance_to(offset)
        assert log.peek(final=True) == whole[offset:]


def test_a_runaway_log_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1_000_000)
    log = MaskedLog(path, [], 1000)
    log.peek()
    assert path.stat().st_size <= 200_000
    assert log.peek().startswith(b"x" * 1000 + b"\nThe log ends here")
