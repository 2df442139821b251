"""`asyncdl errors`: what went wrong and stands, grouped by class, or every job of one class as it streams by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from asyncdl.cli.options import common, next_command, settings_of
from asyncdl.core.names import display
from asyncdl.core.retry import TREATMENTS
from asyncdl.settings import Settings
from asyncdl.status.figures import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncdl.store.reader import ErrorRow, FailedRow


@click.command("errors")
@click.argument("error_class", required=False, metavar="[CLASS]")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each class, or for each job.")
@common
@click.pass_context
def command(context: click.Context, /, *, error_class: str | None, as_json: bool) -> int:
    """Show the errors that stand, the most frequent first; with CLASS, every job that has this one.

    The number before a job is its ID, for `asyncdl retry` and `asyncdl cancel`.
    """
    from asyncdl.cli.chosen import class_of
    from asyncdl.store.reader import Reader

    found = settings_of(context)
    with Reader(found.queue) as reader:
        now = time.time()
        if error_class is None:
            for line in _groups(reader.errors(), found, now, as_json=as_json):
                click.echo(line)
            return 0
        name = class_of(error_class, reader)
        n_jobs = 0
        for row in reader.failed_jobs(name):
            click.echo(_line(job_json(row)) if as_json else job_line(row, now))
            n_jobs += 1
        if not n_jobs and not as_json:
            click.echo(f"no job has the error {display(name)}")
    return 0


def _groups(rows: list[ErrorRow], found: Settings, now: float, *, as_json: bool) -> Iterator[str]:
    from asyncdl.status.json_form import error
    from asyncdl.status.view import error_lines

    if as_json:
        yield from (_line(error(row)) for row in rows)
        return
    for row in rows:
        title, example, hint = error_lines(row, now)
        yield from (title, f"  {example}", *([f"  {hint}"] if hint else []))
    if rows:
        yield f"each job: {next_command(found, 'errors')} {rows[0].error_class}"
    else:
        yield "no errors"


def job_line(row: FailedRow, now: float) -> str:
    """Return one job on one line."""
    if row.state == "discarded":
        then = "discarded"
    elif row.state == "running":
        then = "being tried again"
    elif row.is_paused:
        then = "paused"
    else:
        then = f"next try in {duration_text(row.run_at - now)}" if row.run_at > now else "to be tried again"
    where = f"{row.name} {row.path}"
    return display(f"{row.id:>8}  {row.kind}  {where}: attempt {row.attempt}, {then}: {row.text}")


def job_json(row: FailedRow) -> dict[str, Any]:
    """Return one job as docs/CLI.md has it."""
    known = TREATMENTS.get(row.error_class)
    is_waiting = row.state == "available" and not row.is_paused
    return {
        "id": row.id,
        "kind": row.kind,
        "dataset": display(row.name),
        "subset": display(row.subset),
        "path": display(row.path),
        "class": row.error_class,
        "message": display(row.text),
        "state": row.state,
        "attempts": row.attempt,
        "failures": row.failures,
        "next_retry_at": row.run_at if is_waiting else None,
        "paused": row.is_paused,
        "ended_at": row.ended_at,
        "hint": known.hint if known else None,
    }


def _line(record: dict[str, Any]) -> str:
    import orjson

    return orjson.dumps(record).decode()
