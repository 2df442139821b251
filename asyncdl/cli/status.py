"""`asyncdl status`: how far the work is. A snapshot of the queue as text or JSON, or a live view on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.cli.say import on_terminal
from asyncdl.errors import UsageError
from asyncdl.settings import parse_duration_s

if TYPE_CHECKING:
    from asyncdl.store.reader import Reader

MIN_INTERVAL_S = 0.25
"""Four frames a second: the reader shares its core with the engine."""


@click.command("status")
@click.option("--once", is_flag=True, help="One snapshot, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One snapshot as JSON.")
@click.option("--interval", metavar="S", default="1", show_default=True, help="Seconds between two frames.")
@common
@click.pass_context
def command(context: click.Context, *, once: bool, as_json: bool, interval: str) -> int:
    """Show jobs, datasets, rate, ETA, errors and engines.

    Live on a terminal (Ctrl-C ends it), one snapshot when piped.
    """
    from asyncdl.status import snapshot, view
    from asyncdl.store.reader import Reader

    found = settings_of(context)
    interval_s = _interval_s(interval)
    with Reader(found.queue) as reader:
        if not as_json and not once and on_terminal(sys.stdout):
            _live(reader, interval_s)
        shot = snapshot.take(reader, time.time())
    if as_json:
        import orjson

        click.echo(orjson.dumps(shot.to_json(), option=orjson.OPT_INDENT_2))
    else:
        click.echo(view.plain(shot), nl=False)
    return 0


def _interval_s(text: str) -> float:
    try:
        return max(parse_duration_s(text), MIN_INTERVAL_S)
    except ValueError as error:
        raise UsageError(f"--interval {error}") from None


def _live(reader: Reader, interval_s: float) -> None:
    """Redraw until Ctrl-C; the caller leaves a last snapshot in the scrollback."""
    from rich.console import Console
    from rich.live import Live

    from asyncdl.status import snapshot, terminal

    try:
        with Live(console=Console(), screen=True, auto_refresh=False) as live:
            while True:
                live.update(terminal.full(snapshot.take(reader, time.time())), refresh=True)
                time.sleep(interval_s)
    except KeyboardInterrupt:
        return
