"""`asyncdl doctor`: whether everything asyncdl stands on is sound, and what to do where it is not. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.core.names import display

if TYPE_CHECKING:
    from asyncdl.cli.checks import Finding

SCHEMA_VERSION = 1

FINE = 0
LOOK = 1
BROKEN = 3


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@common
@click.pass_context
def command(context: click.Context, /, *, as_json: bool) -> int:
    """Look at versions, credentials, disks, the queue and its engines, and say what to do next.

    It reads all of the queue, some seconds for millions of jobs. Ends with 0 where all is fine, 1 where something
    wants a look, 3 where something is broken.
    """
    from asyncdl.cli.checks import findings

    found = settings_of(context)
    rows = []
    for row in findings(found):
        rows.append(row)
        if not as_json:
            for line in lines_of(row):
                click.echo(line)
    code = exit_code(rows)
    if as_json:
        import orjson

        record = {
            "schema_version": SCHEMA_VERSION,
            "exit_code": code,
            "findings": [
                {
                    "check": row.check,
                    "level": row.level,
                    "message": display(row.message),
                    "next": display(row.next_step),
                }
                for row in rows
            ],
        }
        click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2))
    else:
        click.echo({FINE: "all is fine", LOOK: "something wants a look", BROKEN: "something is broken"}[code])
    return code


def lines_of(row: Finding) -> list[str]:
    """Return one finding, and below it what to do."""
    lines = [display(f"{row.level:<7} {row.check:<13} {row.message}")]
    return [*lines, display(f"{'':<7} {'':<13} next: {row.next_step}")] if row.next_step else lines


def exit_code(rows: list[Finding]) -> int:
    """Return what the gravest finding stands for."""
    levels = {row.level for row in rows}
    return BROKEN if "broken" in levels else LOOK if "look" in levels else FINE
