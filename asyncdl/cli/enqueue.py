"""`asyncdl enqueue`: a name goes in, files to fetch come out, all of them in the queue or none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from asyncdl.cli.options import common, next_command, settings_of
from asyncdl.cli.recipe_options import recipe_options, take_recipe
from asyncdl.cli.say import Say, on_terminal
from asyncdl.core.names import display
from asyncdl.errors import UsageError
from asyncdl.settings import Settings, parse_size
from asyncdl.status.figures import bytes_text, count_text

if TYPE_CHECKING:
    from asyncdl.cli.intake import Intake, Survey, Watch, Wish

SCHEMA_VERSION = 1
DEFAULT_PRIORITY = 5

FIRST_LINE_S = 5.0
LINE_EVERY_S = 30.0


@click.command("enqueue")
@click.argument("target")
@click.option("--lang", multiple=True, metavar="L", help="A language (repeatable).")
@click.option("--config", multiple=True, metavar="C", help="A configuration (repeatable).")
@click.option("--split", multiple=True, metavar="S", help="A split, such as train (repeatable); else all.")
@click.option("--revision", metavar="R", help="A branch, tag or commit; else main as it is now.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only files that match (repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="No files that match (repeatable).")
@click.option("--max-files", type=click.IntRange(min=1), metavar="N", help="Stop after N files.")
@click.option("--max-bytes", metavar="SIZE", help="Stop before the files exceed SIZE: 10GB, 512MiB.")
@click.option("--tokenizer", metavar="NAME|PATH", help="Also tokenize, with this tokenizer.json or Hub model.")
@recipe_options
@click.option("--priority", type=click.IntRange(0, 9), default=DEFAULT_PRIORITY, show_default=True, help="0 is first.")
@click.option("--dry-run", is_flag=True, help="Say what would be enqueued; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@common
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Put the files of TARGET into the queue.

    TARGET is a name of the catalogue (fineweb-2), a repo of the Hub (org/name), hf://datasets/org/name@rev/glob, the
    https:// URL of a file, or s3:// or r2://bucket/prefix. Enqueueing again finds what is there, and revives what was
    discarded.
    """
    from asyncdl.cli import loop
    from asyncdl.cli.intake import take_in

    wish = wish_of(**given)
    found = settings_of(context)
    say = Say(found.log_level)
    with watching(say) as watch:
        intake = loop.run(take_in(wish, found, watch))
    for note in notes_of(intake):
        say.note(note)
    if as_json:
        import orjson

        click.echo(orjson.dumps(to_json(intake), option=orjson.OPT_INDENT_2))
    else:
        for line in summary(intake, found):
            click.echo(display(line))
    return 0


def wish_of(*, target: str, priority: int, dry_run: bool, **selected: Any) -> Wish:
    """Return the wish that the options make. Raises UsageError where they contradict each other."""
    from asyncdl.cli.intake import Wish
    from asyncdl.sources.resolve import Selection

    recipe = take_recipe(selected)
    selection = Selection(
        langs=selected["lang"],
        configs=selected["config"],
        splits=selected["split"],
        revision=selected["revision"],
        include=selected["include"],
        exclude=selected["exclude"],
        max_files=selected["max_files"],
        max_bytes=_size(selected["max_bytes"]),
    )
    return Wish(
        target=target,
        selection=selection,
        recipe=recipe,
        priority=priority,
        dry_run=dry_run,
    )


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--max-bytes: {error}") from None
    if size < 1:
        raise UsageError("--max-bytes 0 would take nothing", hint="--dry-run shows what there is")
    return size


@contextmanager
def watching(say: Say) -> Iterator[Watch]:
    """Show how far a long listing is: a line that changes on a terminal, one now and then in a log."""
    if not say.wants("info"):
        yield unseen
    elif on_terminal(sys.stderr):
        from rich.console import Console

        with Console(stderr=True).status("asking for the list of files") as status:
            yield lambda survey: status.update(_listing_text(survey))
    else:
        yield _lines(say)


def unseen(survey: Survey) -> None:
    """Watch a listing without a word."""
    del survey


def _lines(say: Say) -> Watch:
    next_at = time.monotonic() + FIRST_LINE_S

    def watch(survey: Survey) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + LINE_EVERY_S
            say.info(_listing_text(survey))

    return watch


def _listing_text(survey: Survey) -> str:
    return f"listing: {count_text(survey.n_files, 'file')}, {bytes_text(survey.size_bytes)} so far"


def notes_of(intake: Intake) -> list[str]:
    """Return what the source said and what the plan does not show."""
    notes = list(intake.resolved.notes)
    survey = intake.survey
    if survey.n_unsized:
        notes.append(f"the size of {count_text(survey.n_unsized, 'file')} is not known before it is fetched")
    if intake.enqueued is not None and intake.enqueued.others:
        names = ", ".join(intake.enqueued.others)
        notes.append(
            f"files of {names} have the same local path; these take their place. Use another --data-dir to keep both"
        )
    if intake.enqueued is None and not intake.fits:
        notes.append("this does not fit on the disk; enqueue would refuse it")
    return notes


def to_json(intake: Intake) -> dict[str, Any]:
    """Return the contract of `enqueue --json`; keys may be added, never renamed."""
    survey = intake.survey
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": intake.resolved.name,
        "revision": intake.resolved.revision,
        "files": survey.n_files,
        "bytes": survey.size_bytes,
        "enqueued": intake.enqueued.n_new if intake.enqueued else 0,
        "already_queued": intake.n_known,
        "already_have": survey.n_have,
        "already_have_bytes": survey.have_bytes,
        "files_of_unknown_size": survey.n_unsized,
        "new_inodes": survey.n_new_inodes,
        "needed_bytes": survey.needed_bytes,
        "free_bytes_after": intake.free_bytes - survey.needed_bytes,
        "recipe": intake.recipe.name if intake.recipe else None,
        "not_tokenized": survey.n_not_text if intake.recipe else 0,
        "notes": [display(note) for note in notes_of(intake)],
        "dry_run": intake.enqueued is None,
    }


def summary(intake: Intake, found: Settings) -> list[str]:
    """Return the lines for a person, the next command last."""
    survey, resolved = intake.survey, intake.resolved
    what = f"{resolved.name} at {resolved.revision[:12]}" if resolved.revision else resolved.name
    lines = [f"{what}: {count_text(survey.n_files, 'file')}, {bytes_text(survey.size_bytes)}"]
    if survey.n_have:
        lines.append(f"  on disk already   {count_text(survey.n_have, 'file')}, {bytes_text(survey.have_bytes)}")
    if intake.n_known:
        lines.append(f"  in the queue      {count_text(intake.n_known, 'file')}")
    lines.append(
        f"  still to come     {bytes_text(survey.needed_bytes)} in {count_text(survey.n_new_inodes, 'new file')}"
        f" and folders; {bytes_text(max(intake.free_bytes - survey.needed_bytes, 0))} stay free"
    )
    if intake.recipe:
        lines.append(f"  tokenized as      {intake.recipe.name}")
        if survey.n_not_text:
            lines.append(f"  not tokenized     {count_text(survey.n_not_text, 'file')}: no Parquet, no JSON lines")
    if intake.enqueued is None:
        return [*lines, "a dry run: nothing was enqueued"]
    if intake.enqueued.n_new == 0:
        return [*lines, f"nothing new: all of it is in the queue; how far it is: {next_command(found, 'status')}"]
    return [*lines, f"enqueued {count_text(intake.enqueued.n_new, 'job')}; next: {next_command(found, 'run')}"]
