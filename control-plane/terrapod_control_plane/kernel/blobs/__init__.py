"""Durable bytes under a key."""

from terrapod_control_plane.kernel.blobs.base import (
    BadKey,
    BlobMissing,
    Blobs,
    Transform,
    once,
    whole,
)

__all__ = ["BadKey", "BlobMissing", "Blobs", "Transform", "once", "whole"]
