"""Tokens as documents."""

from terrapod_control_plane.identity.model import Minted
from terrapod_control_plane.identity.schema import TokenDoc
from terrapod_control_plane.kernel.jsonapi import present


def new_token(minted: Minted) -> TokenDoc:
    """A new token with its text."""
    doc = present(minted.stored, TokenDoc)
    doc.token = minted.text
    return doc
