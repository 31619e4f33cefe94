"""What opens and closes an archive of a backup, as commands take it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from terrapod_control_plane.cli.client import failed

if TYPE_CHECKING:
    from terrapod_control_plane.backup.sealing import Opener, Sealer

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="The passphrase is the first line of this file; else asked for."
    ),
]
RecipientFile = Annotated[
    Path | None,
    typer.Option("--recipient", help="PEM file of an X25519 public key to seal it for."),
]
IdentityFile = Annotated[
    Path | None,
    typer.Option("--identity", help="PEM file of the X25519 private key that it was sealed for."),
]
_SHORTEST = 8
T = TypeVar("T")


def sealer(passphrase: Path | None, recipient: Path | None, *, optional: bool) -> "Sealer | None":
    """How a new archive is sealed; nothing where that may be left out and was."""
    from terrapod_control_plane.backup import sealing  # noqa: PLC0415 - slow to import

    if passphrase is not None and recipient is not None:
        raise failed("Use either --passphrase-file or --recipient.")
    if recipient is not None:
        return _readable(sealing.Recipient.read, recipient)
    if passphrase is None and optional:
        return None
    text = _passphrase(passphrase, confirmed=True)
    if len(text) < _SHORTEST:
        raise failed(f"The passphrase is too short: at least {_SHORTEST} characters.")
    return sealing.Passphrase(text)


def opener(passphrase: Path | None, identity: Path | None) -> "Opener":
    """What opens an archive that is sealed."""
    from terrapod_control_plane.backup import sealing  # noqa: PLC0415 - slow to import

    if identity is not None:
        return _readable(sealing.Identity.read, identity)
    return sealing.Passphrase(_passphrase(passphrase, confirmed=False))


def _readable(read: Callable[[bytes], T], file: Path) -> T:
    from terrapod_control_plane.backup.sealing import WrongSecret  # noqa: PLC0415

    try:
        return read(_content(file))
    except WrongSecret as error:
        raise failed(f"{file}: {error}") from None


def _passphrase(file: Path | None, *, confirmed: bool) -> str:
    if file is not None:
        first = _content(file).decode(errors="replace").splitlines()[:1]
        return first[0] if first else ""
    if not sys.stdin.isatty():
        is_sealed, key = (
            ("has to be sealed", "--recipient") if confirmed else ("is sealed", "--identity")
        )
        raise failed(
            f"The archive {is_sealed}: give --passphrase-file or {key}, "
            "or run this at a terminal to be asked for the passphrase."
        )
    text: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirmed, err=True)
    return text


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise failed(f"{file} can't be read: {error.strerror}") from None
