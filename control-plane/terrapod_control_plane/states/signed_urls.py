"""The signed addresses under which contents are uploaded and downloaded."""

from datetime import timedelta

from msgspec.structs import replace

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.policy import Scope, Verdict, allows
from terrapod_control_plane.states.model import Shown
from terrapod_control_plane.workspaces.actions import STATE_DOWNLOAD, STATE_WRITE

UPLOAD = "state-upload"
UPLOAD_JSON = "json-state-upload"
DOWNLOAD = "state-download"


def signed_url(ctx: Context, verb: str, version: str) -> str:
    """An address that allows one thing with one version for a while; the verb is in its path."""
    states = ctx.settings.states
    hours = states.download_hours if verb == DOWNLOAD else states.upload_hours
    token = ctx.services.signer.sign(verb, version, timedelta(hours=hours))
    return f"{ctx.base_url}/api/v2/{verb}/{token}"


def with_addresses(ctx: Context, version: Shown, scope: Scope | None) -> Shown:
    """The version with the addresses that the caller may use."""
    if scope is None:
        return version
    if version.status == "pending":
        writes = allows(ctx.actor, STATE_WRITE, scope) is Verdict.ALLOWED
        return with_uploads(ctx, version) if writes else version
    if version.status == "discarded":
        return version
    if allows(ctx.actor, STATE_DOWNLOAD, scope) is not Verdict.ALLOWED:
        return version
    return replace(version, hosted_state_download_url=signed_url(ctx, DOWNLOAD, version.id))


def with_uploads(ctx: Context, version: Shown) -> Shown:
    """The version with the addresses that its content is uploaded to."""
    return replace(
        version,
        hosted_state_upload_url=signed_url(ctx, UPLOAD, version.id),
        hosted_json_state_upload_url=signed_url(ctx, UPLOAD_JSON, version.id),
    )
