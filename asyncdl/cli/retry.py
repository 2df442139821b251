"""`asyncdl retry`: what was discarded gets all its tries again, what waits for its next try is tried now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from asyncdl.cli.options import common, next_command, settings_of
from asyncdl.errors import UsageError
from asyncdl.settings import Settings
from asyncdl.status.figures import count_text

if TYPE_CHECKING:
    from asyncdl.store.steering import Tally


@click.command("retry")
@click.argument("ids", nargs=-1, type=click.IntRange(min=1), metavar="[ID]...")
@click.option("--class", "error_class", metavar="C", help="Only jobs with this class of errors.")
@click.option("--failed", is_flag=True, help="Only what was discarded, not what waits for its next try.")
@click.option("--dataset", "datasets", multiple=True, metavar="D", help="Only jobs of this dataset (repeatable).")
@click.option("--dry-run", is_flag=True, help="Say how many; change nothing.")
@common
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    ids: tuple[int, ...],
    error_class: str | None,
    failed: bool,
    datasets: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Try failed jobs again: discarded ones, and those that wait for their next try.

    All that is given must hold; IDs are in `asyncdl errors CLASS`. A file that was refused is fetched again.
    """
    from asyncdl.cli.chosen import class_of, dataset_of
    from asyncdl.store.reader import Reader
    from asyncdl.store.steering import Choice, Steering, would_retry

    found = settings_of(context)
    if not (ids or error_class or failed or datasets):
        raise UsageError(
            "say what is to be tried again", hint="--failed is all that was discarded; or --class, --dataset, IDs"
        )
    with Reader(found.queue) as reader:
        choice = Choice(
            ids=ids,
            error_class=None if error_class is None else class_of(error_class, reader),
            is_failed=True,
            datasets=tuple(dataset_of(name, reader) for name in datasets),
        )
    if dry_run:
        tally = would_retry(found.queue, choice, now=time.time(), only_discarded=failed)
    else:
        with Steering(found.queue) as steering:
            tally = steering.retry(choice, now=time.time(), only_discarded=failed)
    for line in lines_of(tally, found, is_dry=dry_run):
        click.echo(line)
    return 0


def lines_of(tally: Tally, found: Settings, *, is_dry: bool) -> list[str]:
    """Return what was done, or would be, and what to do next."""
    if not tally.n:
        return ["nothing to try again"]
    parts = [
        f"{count_text(n, 'job')} {how}"
        for n, how in ((tally.n_discarded, "discarded"), (tally.n_available, "waiting for the next try"))
        if n
    ]
    lines = [f"{'would be ' if is_dry else ''}tried again: {', '.join(parts)}"] if parts else []
    if tally.n_paused:
        lines.append(
            f"paused, so tried again after {next_command(found, 'resume')}: {count_text(tally.n_paused, 'job')}"
        )
    if is_dry:
        return [*lines, "a dry run: nothing was changed"]
    return [*lines, f"next, where no engine runs: {next_command(found, 'run')}"] if parts else lines
