"""The command ``deker-cluster completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from deker_coordinator.cli.commands import command

__all__ = ["completion"]

_PROGRAM = "deker-cluster"
_VARIABLE = "_DEKER_CLUSTER_COMPLETE"


@command(short_help="Print the script that completes this in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes this command in a shell.

    For bash, in ~/.bashrc: eval "$(deker-cluster completion bash)"; zsh likewise in ~/.zshrc. For
    fish: deker-cluster completion fish > ~/.config/fish/completions/deker-cluster.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - one of those that click brings
    click.echo(kind(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())
