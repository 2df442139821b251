"""`asyncdl tokenize`: files of this machine, or a dataset that is in the queue, are put up for tokenizing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from asyncdl.cli.enqueue import DEFAULT_PRIORITY
from asyncdl.cli.options import common, next_command, settings_of
from asyncdl.cli.recipe_options import recipe_options, take_recipe
from asyncdl.cli.say import Say
from asyncdl.core.names import display
from asyncdl.errors import UsageError
from asyncdl.settings import Settings
from asyncdl.status.figures import bytes_text, count_text

if TYPE_CHECKING:
    from asyncdl.cli.text_intake import TextIntake, Watch

SCHEMA_VERSION = 1


@click.command("tokenize")
@click.argument("target", metavar="PATH|DATASET")
@click.option("--tokenizer", required=True, metavar="NAME|PATH", help="A tokenizer.json, its folder, or a Hub model.")
@recipe_options
@click.option("--recursive", is_flag=True, help="Also the folders below PATH.")
@click.option("--skip-existing", is_flag=True, help="Leave what is made of the same content in the same way; as usual.")
@click.option("--force", is_flag=True, help="Make what is there already once more.")
@click.option("--priority", type=click.IntRange(0, 9), default=DEFAULT_PRIORITY, show_default=True, help="0 is first.")
@click.option("--dry-run", is_flag=True, help="Say what would be enqueued; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@common
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Put text up for tokenizing: Parquet, or JSON lines (.jsonl, .ndjson; .gz or .zst too).

    PATH is a file or a folder of this machine; it is read where it lies. DATASET is one that was enqueued before.
    Nothing is made twice: what counts is the content, the tokenizer and the options, not names.
    """
    from asyncdl.cli import loop
    from asyncdl.cli.text_intake import TextWish, take_in

    if given["skip_existing"] and given["force"]:
        raise UsageError("--skip-existing and --force contradict each other", hint="choose one")
    recipe = take_recipe(given)
    assert recipe is not None
    wish = TextWish(
        target=given["target"],
        recipe=recipe,
        recursive=given["recursive"],
        force=given["force"],
        priority=given["priority"],
        dry_run=given["dry_run"],
    )
    found = settings_of(context)
    say = Say(found.log_level)
    intake = loop.run(_shown(say, lambda watch: take_in(wish, found, watch)))
    for note in notes_of(intake):
        say.note(note)
    if as_json:
        import orjson

        click.echo(orjson.dumps(to_json(intake), option=orjson.OPT_INDENT_2))
    else:
        for line in summary(intake, found):
            click.echo(display(line))
    return 0


async def _shown(say: Say, work: Callable[[Watch], Awaitable[TextIntake]]) -> TextIntake:
    """Do the work; `watch` is told how many files were found, which is shown where it takes long."""
    from asyncdl.cli.shown import shown

    n_files = 0

    def watch(n: int) -> None:
        nonlocal n_files
        n_files = n

    async with shown(say, lambda: f"looking at files: {n_files:,} so far"):
        return await work(watch)


def notes_of(intake: TextIntake) -> list[str]:
    """Return what the user should know beside the counts."""
    notes = []
    if intake.n_ignored:
        notes.append(f"left out: {count_text(intake.n_ignored, 'file')} of other kinds")
    if intake.n_folders:
        notes.append(f"left out: {count_text(intake.n_folders, 'folder')} below, for want of --recursive")
    if intake.chosen and intake.chosen.n_gone:
        n = count_text(intake.chosen.n_gone, "file")
        notes.append(f"not there any more: {n}; their text leaves the manifest, shards of them alone stay on disk")
    if intake.chosen and intake.chosen.n_lost:
        notes.append(f"made again, for shards are gone: {count_text(intake.chosen.n_lost, 'job')}")
    return notes


def to_json(intake: TextIntake) -> dict[str, Any]:
    """Return the contract of `tokenize --json`; keys may be added, never renamed."""
    chosen = intake.chosen
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": display(intake.dataset),
        "files": intake.n_files,
        "bytes": intake.size_bytes,
        "ignored": intake.n_ignored,
        "to_look_at": chosen.n_to_survey if chosen else 0,
        "to_do": chosen.n_to_do if chosen else 0,
        "done": chosen.n_done if chosen else 0,
        "lost": chosen.n_lost if chosen else 0,
        "gone": chosen.n_gone if chosen else 0,
        "recipe": intake.recipe.name,
        "output": display(str(intake.output)),
        "notes": [display(note) for note in notes_of(intake)],
        "dry_run": chosen is None,
    }


def summary(intake: TextIntake, found: Settings) -> list[str]:
    """Return the lines for a person, the next command last."""
    lines = [intake.dataset]
    if intake.n_files is not None:
        lines = [f"{intake.dataset}: {count_text(intake.n_files, 'file')}, {bytes_text(intake.size_bytes or 0)}"]
    lines.append(f"  tokenized as      {intake.recipe.name}")
    lines.append(f"  shards go to      {intake.output}")
    chosen = intake.chosen
    if chosen is None:
        return [*lines, "a dry run: nothing was enqueued"]
    if chosen.n_done:
        lines.append(f"  done already      {count_text(chosen.n_done, 'job')}")
    if chosen.n_to_survey:
        lines.append(f"  to be looked at   {count_text(chosen.n_to_survey, 'job')}, then tokenized")
    if chosen.n_to_do:
        lines.append(f"  to be tokenized   {count_text(chosen.n_to_do, 'job')}")
    if not chosen.n_to_do and not chosen.n_to_survey:
        if not chosen.n_done:
            return [*lines, f"nothing to do yet: its files are still to come; next: {next_command(found, 'run')}"]
        return [*lines, "nothing new: all of it is made; --force makes it once more"]
    return [*lines, f"next: {next_command(found, 'run')}"]
