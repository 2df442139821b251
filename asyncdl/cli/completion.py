"""`asyncdl completion SHELL`: the few lines that make a shell complete verbs and options with the Tab key.

They ask `asyncdl` itself, through the variable that VARIABLE names; `main` answers before anything else.
"""

from __future__ import annotations

import click

from asyncdl.cli.options import common

VARIABLE = "_ASYNCDL_COMPLETE"
PROGRAM = "asyncdl"

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@common
@click.pass_context
def command(context: click.Context, /, *, shell: str) -> int:
    r"""Print what makes a shell complete asyncdl's verbs and options.

    \b
    bash   asyncdl completion bash > ~/.local/share/bash-completion/completions/asyncdl
    zsh    asyncdl completion zsh > a file named _asyncdl in a folder of $fpath
    fish   asyncdl completion fish > ~/.config/fish/completions/asyncdl.fish
    """
    from click.shell_completion import get_completion_class

    root = context.find_root().command
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, PROGRAM, VARIABLE).source())
    return 0


def answer(root: click.Command, instruction: str) -> int:
    """Answer a shell that asks what may come next. instruction: what it wrote into VARIABLE."""
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, PROGRAM, VARIABLE, instruction)
