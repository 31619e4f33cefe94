"""`terrapod check-settings`, and how every command reads the settings."""

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from terrapod_common.settings import BadSettings, describe
from terrapod_control_plane.settings import PREFIX, Settings, load

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", envvar="TERRAPOD_SETTINGS", help="TOML file with settings."),
]


def settings_file() -> Path | None:
    """The file of settings that the environment names, for commands without the option."""
    named = os.environ.get("TERRAPOD_SETTINGS")
    return Path(named) if named else None


def read(file: Path | None) -> Settings:
    """The effective settings, or one line for each mistake and exit code 2."""
    try:
        settings = load(os.environ, file)
    except BadSettings as error:
        for mistake in error.mistakes:
            typer.echo(f"settings: {mistake}", err=True)
        raise typer.Exit(2) from None
    data = settings.data_dir.expanduser().absolute()
    return msgspec.structs.replace(settings, data_dir=data)


def check_settings(settings: SettingsFile = None) -> None:
    """Print the effective settings, without secrets, or what is wrong with them."""
    for name, value in describe(read(settings), PREFIX):
        typer.echo(f"{name}={value}")
