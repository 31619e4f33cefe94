"""A group of commands of which one is meant where none is named."""

from typing import ClassVar

import typer
from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """`group FILE` is `group DEFAULT FILE`."""

    default: ClassVar[str] = ""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the command in that was left out."""
        first = args[0] if args else "--help"
        if first not in self.commands and first not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)
