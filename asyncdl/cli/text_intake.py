"""The work behind `asyncdl tokenize`: what the target is, which files it has, and into the queue with them.

All of a folder is put up or nothing. Memory stays flat, whatever the number of files.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from asyncdl.cli.recipe import RecipeWish, make_recipe
from asyncdl.core.model import Dataset, Recipe
from asyncdl.core.names import display, folder_name, safe_path, split_name
from asyncdl.core.near import did_you_mean, near
from asyncdl.core.stages import is_text_file
from asyncdl.disk import layout
from asyncdl.engine.tokenized import require_own_folder
from asyncdl.errors import UsageError
from asyncdl.net.fetch import make_fetcher
from asyncdl.settings import Settings
from asyncdl.sources.catalog import load_catalog
from asyncdl.sources.folder import Found, Walk, one_file
from asyncdl.store.inputs import BATCH, Chosen, Covers, How, Inputs, tokenize_dataset
from asyncdl.store.migrate import open_writer
from asyncdl.store.reader import Reader
from asyncdl.store.writer import Writer
from workers.formats import FORMATS

Watch = Callable[[int], None]
"""Called with the number of files after every batch, in the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWish:
    """What the command line asks for. priority: 0 first, 9 last."""

    target: str
    recipe: RecipeWish
    recursive: bool
    force: bool
    priority: int
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIntake:
    """What was found and done. n_files, size_bytes: None for a dataset. chosen: None for a dry run.

    n_ignored: files of other kinds. n_folders: not looked into.
    """

    dataset: str
    recipe: Recipe
    output: Path
    chosen: Chosen | None
    n_files: int | None = None
    size_bytes: int | None = None
    n_ignored: int = 0
    n_folders: int = 0


async def take_in(wish: TextWish, found: Settings, watch: Watch) -> TextIntake:
    """Do what `wish` says. Raises UsageError for a target that is neither there nor known, or holds no text, and what
    `make_recipe` and the store raise; then nothing was enqueued.
    """
    place = await asyncio.to_thread(_place_of, wish.target)
    name = "" if place else await asyncio.to_thread(_known_dataset, wish.target, found.queue)
    recipe = await _recipe(wish, found)
    output = layout.tokenized_dir(found.data_dir, recipe)
    await asyncio.to_thread(require_own_folder, output / "manifest.json", recipe)
    files, dataset = await asyncio.to_thread(_files_of, place, found, wish) if place else ([], None)
    name = dataset.name if dataset else name
    lost = await asyncio.to_thread(_lost, found.queue, recipe, output, name, dataset.origin if dataset else "")
    how = How(recipe=recipe, priority=wish.priority, force=wish.force, lost=lost, now=time.time())
    if dataset:
        return await _take_files(files, dataset, how, found, watch, dry_run=wish.dry_run)
    chosen = None
    if not wish.dry_run:
        writer = await asyncio.to_thread(_writer, found.queue)
        try:
            chosen = await tokenize_dataset(writer, name, how)
        finally:
            await asyncio.to_thread(writer.close)
    return TextIntake(dataset=name, recipe=recipe, output=output, chosen=chosen)


def _place_of(target: str) -> Path | None:
    """Return the file or folder of this machine that `target` is; what exists here wins over a dataset's name."""
    place = Path(os.path.normpath(Path(target).expanduser().absolute()))
    try:
        place.stat()
    except OSError:  # a name too long for a file may be a dataset's
        return None
    return place


def _writer(queue: Path) -> Writer:
    return Writer(open_writer(queue), queue)


async def _recipe(wish: TextWish, found: Settings) -> Recipe:
    with tempfile.TemporaryDirectory(prefix="asyncdl-") as scratch:
        folder = Path(scratch) if wish.dry_run else layout.tokenizers_dir(found.data_dir)
        async with make_fetcher(
            found.endpoint, found.token, allow_private=found.allow_private, keys=found.s3
        ) as fetcher:
            return await make_recipe(
                wish.recipe, fetcher=fetcher, endpoint=found.endpoint, folder=folder, queue=found.queue
            )


def _known_dataset(target: str, queue: Path) -> str:
    """Return the name of the dataset in the queue that `target` means. Raises UsageError with what it may mean."""
    names: list[str] = []
    if queue.exists():
        with Reader(queue) as reader:
            names = reader.dataset_names()
    entry = load_catalog().find(target)
    for name in (target, entry.id if entry else target):
        if name in names:
            return name
    raise UsageError(
        f"{display(target)} is no file or folder here, and no dataset of that name is in the queue",
        hint=did_you_mean(near(target, names)) or f"asyncdl enqueue {display(target)} --tokenizer ... fetches it first",
    )


def _lost(queue: Path, recipe: Recipe, output: Path, dataset: str, origin: str) -> list[int]:
    """Return the finished jobs of a dataset, or of a folder of this machine, whose shards are not there any more."""
    if not queue.exists():
        return []
    with Reader(queue) as reader:
        return [
            id_
            for id_, name, subset, shards in reader.made(recipe.name, dataset, origin)
            if not all(
                _has_size(output / split_name(name, subset) / shard["name"], shard["size_bytes"]) for shard in shards
            )
        ]


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


async def _take_files(
    files: Iterable[Found], dataset: Dataset, how: How, found: Settings, watch: Watch, *, dry_run: bool
) -> TextIntake:
    n_files = size_bytes = 0
    batches = _batches(files)
    batch = await asyncio.to_thread(next, batches, None)
    if batch is None:
        raise _no_text(dataset, files)
    chosen = None
    writer = None if dry_run else await asyncio.to_thread(_writer, found.queue)
    try:
        inputs = Inputs(writer, dataset, covers=_covers(files)) if writer else None
        while batch:
            n_files, size_bytes = n_files + len(batch), size_bytes + sum(file.size_bytes for file in batch)
            if inputs:
                await inputs.stage([(file.subset, file.path, file.size_bytes, file.mtime_ns) for file in batch])
            watch(n_files)
            batch = await asyncio.to_thread(next, batches, None)
        if inputs:
            chosen = await inputs.finish(how)
    finally:
        if writer:
            await asyncio.to_thread(writer.close)
    walk = files if isinstance(files, Walk) else None
    return TextIntake(
        dataset=chosen.dataset if chosen else dataset.name,
        recipe=how.recipe,
        output=layout.tokenized_dir(found.data_dir, how.recipe),
        chosen=chosen,
        n_files=n_files,
        size_bytes=size_bytes,
        n_ignored=walk.n_ignored if walk else 0,
        n_folders=walk.n_folders if walk else 0,
    )


def _covers(files: Iterable[Found]) -> Covers:
    if not isinstance(files, Walk):
        return "files"
    return "all below" if files.recursive else "folder"


def _files_of(place: Path, found: Settings, wish: TextWish) -> tuple[Iterable[Found], Dataset]:
    """Return the files at `place` and the dataset that they are. A file is called after its stem, a folder as it is.

    What lies in the data dir is no text of the user's.
    """
    if place.is_dir():
        ours = [found.data_dir, *([Path(wish.recipe.output)] if wish.recipe.output else [])]
        return Walk(place, recursive=wish.recursive, but=ours), _dataset(place.name, place)
    if not is_text_file(place.name):
        raise UsageError(
            f"{display(str(place))} holds no documents that can be read", hint=f"there are {', '.join(FORMATS)}"
        )
    return [one_file(place)], _dataset(place.name.partition(".")[0] or place.name, place.parent)


def _dataset(name: str, folder: Path) -> Dataset:
    name = folder_name(name or "root")
    return Dataset(
        name=name, revision="", subset="", source="local", origin=str(folder), local_root=safe_path(f"local/{name}"),
        text_field="",
    )  # fmt: skip


def _batches(files: Iterable[Found]) -> Iterator[list[Found]]:
    ordered = iter(files)
    while batch := list(islice(ordered, BATCH)):
        yield batch


def _no_text(dataset: Dataset, files: Iterable[Found]) -> UsageError:
    below = isinstance(files, Walk) and files.n_folders
    hint = "--recursive takes in the folders below" if below else f"there are {', '.join(FORMATS)}"
    return UsageError(f"{display(dataset.origin)} holds no documents that can be read", hint=hint)
