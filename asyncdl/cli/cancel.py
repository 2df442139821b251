"""`asyncdl cancel`: unfinished jobs are given up. Says what and how much first, and asks."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.core.names import display
from asyncdl.errors import UsageError
from asyncdl.status.figures import bytes_text, count_text

if TYPE_CHECKING:
    from asyncdl.store.steering import Tally


@click.command("cancel")
@click.argument("names", nargs=-1, metavar="[DATASET|ID]...")
@click.option("--class", "error_class", metavar="C", help="Only jobs with this class of errors.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what and how much; change nothing.")
@common
@click.pass_context
def command(
    context: click.Context, /, *, names: tuple[str, ...], error_class: str | None, yes: bool, dry_run: bool
) -> int:
    """Give up unfinished jobs: of datasets, with a class of errors, or with these IDs (see `asyncdl errors CLASS`).

    What is finished stays, and nothing on disk is removed. Where nobody can be asked it needs --yes.
    """
    from asyncdl.cli.chosen import class_of, dataset_of
    from asyncdl.store.reader import Reader
    from asyncdl.store.steering import Choice, Steering, would_cancel

    found = settings_of(context)
    if not names and error_class is None:
        raise UsageError("say what is to be cancelled", hint="a dataset, IDs, or --class C")
    ids = tuple(int(name) for name in names if name.isascii() and name.isdecimal())
    if ids and len(ids) < len(names):
        raise UsageError("datasets and IDs together choose nothing", hint="cancel one after the other")
    with Reader(found.queue) as reader:
        choice = Choice(
            ids=ids,
            error_class=None if error_class is None else class_of(error_class, reader),
            datasets=() if ids else tuple(dataset_of(name, reader) for name in names),
        )
    tally = would_cancel(found.queue, choice, now=time.time())
    what = f"{sentence(tally)} of {', '.join(map(display, choice.datasets)) or 'the queue'}"
    if not tally.n:
        click.echo("nothing to cancel: none of that is unfinished")
        return 0
    if dry_run:
        click.echo(f"would be cancelled: {what}\na dry run: nothing was changed")
        return 0
    if not yes:
        _ask(what)
    with Steering(found.queue) as steering:
        done = steering.cancel(choice, now=time.time())
    click.echo(f"cancelled: {sentence(done)}; nothing on disk was removed; enqueue the same again to take it up again")
    return 0


def sentence(tally: Tally) -> str:
    """Return how many jobs in which states, and what their downloads still needed."""
    states = (
        (tally.n_running, "running"),
        (tally.n_available, "waiting"),
        (tally.n_paused, "paused"),
        (tally.n_discarded, "discarded"),
    )
    parts = ", ".join(f"{n:,} {state}" for n, state in states if n)
    return f"{count_text(tally.n, 'job')} ({parts or 'none'}; {bytes_text(tally.left_bytes)} to fetch)"


def _ask(what: str) -> None:
    """Raises click.Abort for anything but a yes, and UsageError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError(f"this would cancel {what}", hint="--yes does it without asking, --dry-run only says so")
    click.confirm(f"cancel {what}?", abort=True, err=True)
