"""The command `terrapod`: one file a command. Heavy imports happen inside the commands."""

import typer

from terrapod_control_plane.cli import (
    backup,
    cache,
    demo,
    migrate,
    pools,
    restore,
    resume,
    serve,
    settings,
    tokens,
    variables,
    workspaces,
)

app = typer.Typer(
    name="terrapod",
    help="The Terrapod control plane: run it, and work with one over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.add_typer(backup.app, name="backup")
app.command("restore")(restore.restore)
app.command("resume")(resume.resume)
app.command("demo")(demo.demo)
app.command("check-settings")(settings.check_settings)
app.add_typer(pools.app, name="pools")
app.add_typer(tokens.app, name="tokens")
app.add_typer(cache.app, name="cache")
app.add_typer(workspaces.app, name="workspaces")
app.add_typer(variables.app, name="variables")


def main() -> None:
    """The console script."""
    app()
