"""`asyncdl demo`: the whole job, offline, against the packaged hub on a network that is bad on purpose.

Calls what the other verbs call; nothing here is a shortcut.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.core.model import Recipe
from asyncdl.core.names import display
from asyncdl.errors import ConfigError, UsageError
from asyncdl.settings import Settings

WORKERS = 16
PROCESSES = 2
"""A dozen small files: more would only wait. Guesses."""


@click.command("demo")
@click.option("--keep", metavar="DIR", help="Keep everything in DIR; else a temporary folder that is removed.")
@common
@click.pass_context
def command(context: click.Context, /, *, keep: str | None) -> int:
    """Show the whole job in a few seconds: enqueue, run on a bad network, status, one decoded sequence.

    Nothing leaves this machine. The Hub is a stand-in on a loopback port that serves the Universal Declaration of
    Human Rights as fineweb-2 has its files.
    """
    from asyncdl.cli import loop

    found = settings_of(context)
    for flag in ("--queue", "--data-dir"):
        if flag in found.sources.values():
            raise UsageError(f"the demo has a folder of its own; {flag} does not apply", hint="--keep DIR names it")
    os.environ.pop("ASYNCDL_DATASETS_SERVER", None)  # the stand-in answers for the viewer, too
    with _folder(keep) as folder:
        return loop.run(_play(_settings_in(Path(folder), found, keep=keep is not None)))


def _folder(keep: str | None) -> AbstractContextManager[str]:
    import tempfile

    if keep is None:
        return tempfile.TemporaryDirectory(prefix="asyncdl-demo-")
    try:
        Path(keep).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--keep {keep}: {error.strerror}") from error
    return nullcontext(keep)


def _settings_in(folder: Path, found: Settings, *, keep: bool) -> Settings:
    """The user's settings with the demo's own places; kept ones are named in the commands to type next."""
    given = {"queue": "--queue", "data_dir": "--data-dir"} if keep else {}
    return replace(
        found,
        queue=folder / "queue.sqlite",
        data_dir=folder / "datasets",
        workers=WORKERS,
        processes=PROCESSES,
        token=None,
        sources=dict(found.sources) | given,
    )


async def _play(found: Settings) -> int:
    from asyncdl.cli import session
    from asyncdl.demo import story
    from asyncdl.demo.hub import DemoHub

    began_at = time.monotonic()
    async with DemoHub(faults=story.FAULTS) as hub:
        found = replace(found, endpoint=hub.endpoint)
        _say(f"A stand-in for the Hub listens on {hub.endpoint}; nothing leaves this machine.")
        recipe = await _enqueue(found)
        _say("", "$ asyncdl run")
        code = await session.work(found, only=None, forever=False, as_json=False)
        served = hub.totals["hub"].faults + hub.totals["cdn"].faults
    _say("", "On the way the network was bad on purpose:")
    _say(*(f"  {line}" for line in story.faults_told(served)))
    _status(found)
    if code:
        return code
    await _decode(found, recipe)
    _say("", f"All of this took {time.monotonic() - began_at:.0f} s. Now the real thing: asyncdl enqueue --help")
    return code


async def _enqueue(found: Settings) -> Recipe:
    """Return what it is tokenized with."""
    from asyncdl.cli.enqueue import summary, unseen
    from asyncdl.cli.intake import Wish, take_in
    from asyncdl.cli.recipe import RecipeWish
    from asyncdl.demo import story
    from asyncdl.sources.resolve import Selection

    for language in story.LANGUAGES:
        _say(
            "",
            f"$ asyncdl enqueue {story.DATASET} --lang {language} --tokenizer {story.TOKENIZER}"
            f" --max-seq-length {story.MAX_SEQ_LENGTH}",
        )
        wish = Wish(
            target=story.DATASET,
            selection=Selection(langs=(language,)),
            recipe=RecipeWish(tokenizer=story.TOKENIZER, max_seq_length=story.MAX_SEQ_LENGTH),
            priority=5,
            dry_run=False,
        )
        intake = await take_in(wish, found, unseen)
        _say(*summary(intake, found))
    assert intake.recipe is not None
    return intake.recipe


def _status(found: Settings) -> None:
    from asyncdl.status import snapshot, view
    from asyncdl.store.reader import Reader

    with Reader(found.queue) as reader:
        shot = snapshot.take(reader, time.time())
    _say("", "$ asyncdl status", *view.plain(shot).splitlines())


async def _decode(found: Settings, recipe: Recipe) -> None:
    import asyncio

    from asyncdl.demo import corpus_dir, story
    from asyncdl.disk.layout import tokenized_dir

    tokenized = tokenized_dir(found.data_dir, recipe)
    tokenizer = corpus_dir() / "tokenizer" / "tokenizer.json"
    shard, text = await asyncio.to_thread(story.first_sequence, tokenized, tokenizer)
    _say("", f"The first sequence of {tokenized / shard} begins:", "", f"  {text}")


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(display(line))
