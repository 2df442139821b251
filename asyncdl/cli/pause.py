"""`asyncdl pause`: a person holds work up; what runs ends, and nothing more of it is begun until `resume`."""

from __future__ import annotations

import time

import click

from asyncdl.cli.options import common, next_command, settings_of
from asyncdl.core.names import display


@click.command("pause")
@click.argument("names", nargs=-1, metavar="[DATASET|HOST|KIND]...")
@common
@click.pass_context
def command(context: click.Context, /, *, names: tuple[str, ...]) -> int:
    """Let nothing more be begun of a dataset, of what comes from a host, or of a kind (download, verify, tokenize).

    Without a name: of everything. What runs is finished. It lasts, from engine to engine, until `asyncdl resume`.
    Where a host and a dataset have one name, `host:NAME` is the host.
    """
    from asyncdl.cli.chosen import KINDS, pausable
    from asyncdl.store.reader import Reader
    from asyncdl.store.steering import Steering, What

    found = settings_of(context)
    wanted: list[tuple[What, str]] = [("kind", kind) for kind in KINDS]
    with Reader(found.queue) as reader:
        if names:
            wanted = [pausable(name, reader) for name in names]
    with Steering(found.queue) as steering:
        n_new = steering.pause(wanted, now=time.time())
    told = ", ".join(f"{what} {display(name)}" for what, name in wanted) if names else "everything"
    click.echo(f"paused: {told}" if n_new else f"paused already: {told}")
    click.echo(f"to go on: {next_command(found, 'resume')}")
    return 0
