"""What all commands share: how they end, and the arguments that many of them take."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from deker_cluster.errors import DekerBaseApplicationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXIT_CODES",
    "URI_VARIABLE",
    "WRONG",
    "Command",
    "Group",
    "Refused",
    "Stopped",
    "as_json_option",
    "command",
    "quiet_option",
    "uri_argument",
]

URI_VARIABLE = "DEKER_CLUSTER_URI"
"""Environment variable with the address to use."""

WRONG = 1
"""Exit code: the command did its work, and found something wrong."""

EXIT_CODES = (
    "Exit codes: 0 fine; 1 something is wrong (status: not whole; verify: differences; doctor: "
    "findings; ingest, import and export: something was left out; a timeout passed); 2 wrong "
    "usage; 3 not reachable, or refused; 130 stopped by Ctrl-C."
)


class Refused(click.ClickException):
    """A storage that cannot be reached, or will not do what was asked."""

    exit_code = 3


class Stopped(click.ClickException):
    """The end by Ctrl-C, with one line that says what is left as it is."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        """Print the line on the error stream."""
        click.echo(self.message, file=file, err=True)


class Command(click.Command):
    """Ends with the exit codes of :data:`EXIT_CODES`, and never with a traceback of our own.

    With ``--json`` a refusal is a JSON document as well: ``{"error": ...}``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the address from the environment in its place, if it is not among the arguments."""
        given = os.environ.get(URI_VARIABLE)
        names = [param.name for param in self.params if isinstance(param, click.Argument)]
        if not given or len(names) < 2 or names[0] != "uri":
            return super().parse_args(ctx, args)
        with_it = [given, *args]
        if not any(word.startswith(("file:", "deker:")) for word in args):
            return super().parse_args(ctx, with_it)
        try:
            return super().parse_args(ctx, list(args))
        except click.MissingParameter:  # the address was that of something else
            ctx.params.clear()
            return super().parse_args(ctx, with_it)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has seen enough
        except KeyboardInterrupt:
            raise Stopped("stopped") from None
        except Refused as error:
            _tell(error, ctx)
            raise
        except (DekerBaseApplicationError, OSError) as error:
            refusal = Refused(str(error))
            _tell(refusal, ctx)
            raise refusal from error


def _tell(error: Refused, ctx: click.Context) -> None:
    if ctx.params.get("as_json"):
        click.echo(json.dumps({"error": error.message}, indent=2))


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type


def command(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a :class:`Command`, as :func:`click.command` does."""
    return click.command(name, cls=Command, **settings)


uri_argument = click.argument("uri", envvar=URI_VARIABLE)
"""The address. On a command line, its password is shown to the whole machine."""

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else."
)
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
