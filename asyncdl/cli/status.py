"""`asyncdl status`: how far the work is. A snapshot of the queue as text or JSON, or a live view on a terminal."""

from __future__ import annotations

import codecs
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.cli.say import on_terminal
from asyncdl.errors import UsageError
from asyncdl.settings import Settings, parse_duration_s

if TYPE_CHECKING:
    from asyncdl.status.focus import Target
    from asyncdl.status.snapshot import Snapshot
    from asyncdl.status.spans import Pen


@click.command("status")
@click.option("--once", is_flag=True, help="One snapshot, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One snapshot as JSON.")
@click.option("--interval", metavar="S", default="1", show_default=True, help="Seconds between two looks.")
@click.option("--read-only", is_flag=True, help="Switch the keys off that pause and retry.")
@common
@click.pass_context
def command(context: click.Context, /, *, once: bool, as_json: bool, interval: str, read_only: bool) -> int:
    """Show jobs, datasets, rate, ETA, errors and engines.

    Live on a terminal (q ends it, ? explains it), one snapshot when piped.
    """
    from asyncdl.cli.look import look_anew
    from asyncdl.status import view

    found = settings_of(context)
    interval_s = _interval_s(interval)
    take = functools.partial(look_anew, found.queue, found.data_dir)
    if not as_json and not once and on_terminal(sys.stdout):
        signum = _live(take, interval_s, _actions(found, read_only=read_only))
        if signum is not None:
            return 128 + signum
    shot = take()
    if as_json:
        import orjson

        click.echo(orjson.dumps(shot.to_json(), option=orjson.OPT_INDENT_2))
    else:
        click.echo(view.plain(shot), nl=False)
    return 0


def _actions(found: Settings, *, read_only: bool) -> Mapping[str, Callable[[Target], str]]:
    """Return {verb of status.focus.Ask: what does it with what was chosen and says what it did}."""
    from asyncdl.cli.actions import board_actions

    return {} if read_only else board_actions(found)


def _interval_s(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise UsageError(f"--interval {error}") from None


def _live(take: Callable[[], Snapshot], interval_s: float, doing: Mapping[str, Callable[[Target], str]]) -> int | None:
    """Show it until somebody has seen enough; return the signal that ended it. Ctrl-C is no such signal."""
    import signal

    from asyncdl.status import live
    from asyncdl.status.screen import Screen

    screen = Screen(
        sys.stdout.fileno(),
        sys.stdin.fileno() if on_terminal(sys.stdin) else None,
        encoding="utf-8" if speaks_utf_8(sys.stdout.encoding) else "ascii",
        is_coloured=not os.environ.get("NO_COLOR"),
    )
    signum = live.run(take, doing, screen, pen_for(sys.stdout.encoding), interval_s=interval_s)
    return None if signum == signal.SIGINT else signum


def speaks_utf_8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


def pen_for(encoding: str) -> Pen:
    """Return the characters that a stream of this encoding can show."""
    from asyncdl.status import spans

    return spans.UNICODE if speaks_utf_8(encoding) else spans.ASCII
