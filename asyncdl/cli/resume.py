"""`asyncdl resume`: what was paused by hand goes on."""

from __future__ import annotations

import click

from asyncdl.cli.options import common, next_command, settings_of
from asyncdl.core.names import display


@click.command("resume")
@click.argument("names", nargs=-1, metavar="[DATASET|HOST|KIND]...")
@common
@click.pass_context
def command(context: click.Context, /, *, names: tuple[str, ...]) -> int:
    """Let what `asyncdl pause` held up go on: everything that has this name. Without a name: all of it.

    Engines that run take it up within half a second.
    """
    from asyncdl.cli.chosen import resumable
    from asyncdl.store.reader import Reader
    from asyncdl.store.steering import Steering

    found = settings_of(context)
    with Reader(found.queue) as reader:
        wanted = list(dict.fromkeys(one for name in names for one in resumable(name, reader)))
    with Steering(found.queue) as steering:
        lifted = steering.resume(wanted if names else None)
    for what, name in lifted:
        click.echo(f"goes on: {what} {display(name)}")
    for what, name in wanted:
        if (what, name) not in lifted:
            click.echo(f"was not paused: {what} {display(name)}")
    if not lifted and not wanted:
        click.echo("nothing is paused")
    elif lifted:
        click.echo(f"next, where no engine runs: {next_command(found, 'run')}")
    return 0
