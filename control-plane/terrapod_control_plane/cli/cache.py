"""`terrapod cache`: the executables that agents run."""

import hashlib
import platform
import subprocess
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from terrapod_control_plane.cli.client import CaFile, Token, Url, connected, failed, segment

_PIECE = 256 * 1024
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i386": "386"}

app = typer.Typer(help="The binary cache.", no_args_is_help=True)


class _Told(msgspec.Struct):
    """What an executable says of itself with ``version -json``; both tools use this name."""

    terraform_version: str


@app.command("import")
def import_(  # noqa: PLR0917 - the options of a command
    path: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Executable, or zip of a release.")
    ],
    tool: Annotated[str, typer.Option(help="terraform or tofu.")] = "terraform",
    version: Annotated[
        str | None, typer.Option(help="Its version; empty: the executable is asked.")
    ] = None,
    os: Annotated[str | None, typer.Option(help="Such as linux; empty: this one.")] = None,
    arch: Annotated[str | None, typer.Option(help="Such as amd64; empty: this one.")] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Import an executable or the zip archive of a release into the cache."""
    known = version or _version_of(path.absolute())
    where = (tool, known, os or platform.system().lower(), arch or _architecture())
    target = "/".join(segment(part) for part in where)
    try:
        plain = "" if zipfile.is_zipfile(path) else f"?digest={_digest(path)}"
        size = path.stat().st_size
    except OSError as error:
        raise failed(f"{path} can't be read: {error.strerror}") from None
    with connected(url, token, ca_file) as client:
        made = client.upload(f"admin/binary-cache/{target}{plain}", _shown(path, size), size)
    typer.echo(f"{' '.join(where)}  sha256:{made['attributes']['digest']}")


@app.command("list")
def show(url: Url = None, token: Token = None, ca_file: CaFile = None) -> None:
    """List what the cache holds."""
    with connected(url, token, ca_file) as client:
        for entry in client.all("admin/binary-cache"):
            a = entry["attributes"]
            typer.echo(
                f"{a['tool']} {a['version']} {a['os']} {a['arch']}"
                f"  {a['size']} bytes  sha256:{a['digest']}"
            )


def _architecture() -> str:
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def _version_of(path: Path) -> str:
    try:
        ran = subprocess.run(
            [path, "version", "-json"], capture_output=True, timeout=30, check=True
        )
        return msgspec.json.decode(ran.stdout, type=_Told).terraform_version
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError, UnicodeError):
        raise failed(f"{path} doesn't tell its version: use --version.") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(path: Path, size: int) -> Iterator[bytes]:
    stderr = typer.get_text_stream("stderr")
    with path.open("rb") as file:
        if not stderr.isatty():
            yield from iter(partial(file.read, _PIECE), b"")
            return
        with typer.progressbar(length=size, label=path.name, file=stderr) as bar:
            while piece := file.read(_PIECE):
                yield piece
                bar.update(len(piece))
