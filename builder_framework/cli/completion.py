"""`builder completion`: what shells need to complete commands, flags and build ids."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_BUILDER_COMPLETE"
"""With it in its environment, `builder` answers the shell's questions (click's convention)."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  builder completion bash > ~/.local/share/bash-completion/completions/builder
    zsh:   builder completion zsh > "${fpath[1]}/_builder"
    fish:  builder completion fish > ~/.config/fish/completions/builder.fish

    or for this shell alone: eval "$(builder completion bash)".
    """
    made = get_completion_class(shell)
    if made is None:  # pragma: no cover (the three are click's own)
        raise click.UsageError(f"no completion for {shell}")
    click.echo(made(ctx.find_root().command, {}, "builder", VARIABLE).source())
