"""Configurations as documents."""

from datetime import timedelta

from terrapod_control_plane.configurations.internal import UPLOAD
from terrapod_control_plane.configurations.model import Configuration
from terrapod_control_plane.configurations.schema import ConfigurationDoc
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jsonapi import present


def upload_url(ctx: Context, id_: str) -> str:
    """Where the archive is to be sent; the URL is the credential."""
    lifetime = timedelta(hours=ctx.settings.configurations.upload_hours)
    token = ctx.services.signer.sign(UPLOAD, id_, lifetime)
    return f"{ctx.base_url}/api/v2/configuration-uploads/{token}"


def to_upload(ctx: Context, made: Configuration) -> ConfigurationDoc:
    """A new configuration with the URL that its archive is to be sent to."""
    doc = present(made, ConfigurationDoc)
    doc.upload_url = upload_url(ctx, made.id)
    return doc
