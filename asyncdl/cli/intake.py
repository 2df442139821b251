"""The work behind `asyncdl enqueue`: resolve a name, compare its files with the disk, put them into the queue.

All of a listing is enqueued or nothing: a listing that fails, a full disk and a Ctrl-C leave the queue as it was.
Memory stays flat, whatever the number of files.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asyncdl.cli.recipe import RecipeWish, make_recipe
from asyncdl.core.model import Artifact, Recipe, Resolved
from asyncdl.core.names import SafePath, folder_of
from asyncdl.core.stages import is_text_file
from asyncdl.disk import layout, room
from asyncdl.engine.tokenized import require_own_folder
from asyncdl.errors import UsageError
from asyncdl.net.fetch import Fetcher, make_fetcher
from asyncdl.settings import Settings
from asyncdl.sources.resolve import Selection, resolve
from asyncdl.store.enqueue import STAGE_BATCH, Enqueue, Enqueued, template_of
from asyncdl.store.migrate import open_writer
from asyncdl.store.reader import Reader
from asyncdl.store.writer import Writer

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own


Batch = list[tuple[str, Artifact, bool]]
"""(subset, artifact, is_missing) triples, as `Enqueue.stage` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for. recipe: None for files only. priority: 0 first, 9 last."""

    target: str
    selection: Selection
    recipe: RecipeWish | None
    priority: int
    dry_run: bool


@dataclass(slots=True)
class Survey:
    """What a listing asks of the disk, counted while it streams. have: finished files of the right size.

    needed_bytes: what the rest will still take; bytes of a partial that are on disk already do not count twice.
    """

    data_dir: Path
    local_root: SafePath
    n_files: int = 0
    size_bytes: int = 0
    n_unsized: int = 0
    n_not_text: int = 0
    n_have: int = 0
    have_bytes: int = 0
    needed_bytes: int = 0
    n_new_files: int = 0
    n_new_folders: int = 0
    _folders: set[Path] = field(default_factory=set)

    @property
    def n_new_inodes(self) -> int:
        return self.n_new_files + self.n_new_folders

    def look(self, batch: Iterable[Artifact]) -> Batch:
        """Count `batch` and return it with what is missing on disk. Blocks.

        Of a folder that is not there no file is looked for: two stats cost more than all else of a listed file.
        """
        is_there: dict[str, bool] = {}  # of this batch alone: an engine may make a folder meanwhile
        looked: Batch = []
        for artifact in batch:
            subset = folder_of(artifact.path)
            if subset not in is_there:
                folder = layout.final_path(self.data_dir, self.local_root, artifact.path).parent
                self._count_folders(folder)
                is_there[subset] = folder.exists()
            self._count(artifact)
            looked.append(
                (subset, artifact, self._is_missing(artifact) if is_there[subset] else self._is_new(artifact))
            )
        return looked

    def _count(self, artifact: Artifact) -> None:
        self.n_files += 1
        self.size_bytes += artifact.size_bytes or 0
        self.n_unsized += artifact.size_bytes is None
        self.n_not_text += not is_text_file(artifact.path)

    def _is_new(self, artifact: Artifact) -> bool:
        self.needed_bytes += artifact.size_bytes or 0
        self.n_new_files += 1
        return True

    def _is_missing(self, artifact: Artifact) -> bool:
        size = artifact.size_bytes
        final = layout.final_path(self.data_dir, self.local_root, artifact.path)
        found = _file_at(final)
        if found is not None and size in (None, found.st_size):
            self.n_have += 1
            self.have_bytes += found.st_size
            return False
        partial = _file_at(layout.partial_path(final))
        on_disk = 0 if partial is None else partial.st_blocks * _BLOCK_BYTES
        self.needed_bytes += max((size or 0) - on_disk, 0)
        self.n_new_files += found is None and partial is None
        return True

    def _count_folders(self, folder: Path) -> None:
        while folder not in self._folders:
            self._folders.add(folder)
            if folder.exists():
                return
            self.n_new_folders += 1
            folder = folder.parent


def _file_at(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What an enqueue found and did. enqueued: None for a dry run. free_bytes: on the data dir's file system before
    anything is fetched.
    """

    resolved: Resolved
    survey: Survey
    recipe: Recipe | None
    enqueued: Enqueued | None
    n_known: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        return room.free(self.survey.data_dir).holds(self.survey.needed_bytes, self.survey.n_new_inodes)


Watch = Callable[[Survey], None]
"""Called after every batch of a listing, in the event loop."""


async def take_in(wish: Wish, found: Settings, watch: Watch) -> Intake:
    """Do what `wish` says. Raises what `sources.resolve`, `recipe.make_recipe` and the store raise, NoRoomError where
    the files would not fit, and UsageError where there is nothing to tokenize; then nothing was enqueued.
    """
    async with make_fetcher(found.endpoint, found.token, allow_private=found.allow_private, keys=found.s3) as fetcher:
        recipe = await _recipe(wish, found, fetcher)
        resolved = await resolve(wish.target, wish.selection, fetcher=fetcher, endpoint=found.endpoint)
        survey = Survey(found.data_dir, resolved.local_root)
        batches = _looked_at(resolved, survey, watch)
        if wish.dry_run:
            n_known = 0
            async for batch in batches:
                n_known += await asyncio.to_thread(_n_known, found.queue, resolved, batch)
            _require_text(survey, recipe)
            return _intake(resolved, survey, recipe, None, n_known)
        nothing: Batch = []
        first = await anext(batches, nothing)  # a name that leads to nothing must not leave an empty queue behind
        async with _enqueue(found, resolved) as enqueue:
            await enqueue.stage(first)
            async for batch in batches:
                await enqueue.stage(batch)
            _require_text(survey, recipe)
            room.require(found.data_dir, survey.needed_bytes, survey.n_new_inodes)
            done = await enqueue.finish(priority=wish.priority, recipe=recipe)
            return _intake(resolved, survey, recipe, done, done.n_known)


def _require_text(survey: Survey, recipe: Recipe | None) -> None:
    if recipe is not None and survey.n_not_text == survey.n_files:
        raise UsageError(
            "none of the chosen files is Parquet or JSON lines, and nothing else can be tokenized",
            hint="choose others with --include or --config, or leave --tokenizer out to fetch the files only",
        )


async def _recipe(wish: Wish, found: Settings, fetcher: Fetcher) -> Recipe | None:
    if wish.recipe is None:
        return None
    with tempfile.TemporaryDirectory(prefix="asyncdl-") as scratch:
        folder = Path(scratch) if wish.dry_run else layout.tokenizers_dir(found.data_dir)
        recipe = await make_recipe(
            wish.recipe,
            fetcher=fetcher,
            endpoint=found.endpoint,
            folder=folder,
            queue=found.queue,
        )
    place = layout.tokenized_dir(found.data_dir, recipe) / "manifest.json"
    await asyncio.to_thread(require_own_folder, place, recipe)
    return recipe


async def _looked_at(resolved: Resolved, survey: Survey, watch: Watch) -> AsyncIterator[Batch]:
    batch: list[Artifact] = []
    async for artifact in resolved.artifacts:
        batch.append(artifact)
        if len(batch) == STAGE_BATCH:
            yield await asyncio.to_thread(survey.look, batch)
            watch(survey)
            batch = []
    if batch:
        yield await asyncio.to_thread(survey.look, batch)


@asynccontextmanager
async def _enqueue(found: Settings, resolved: Resolved) -> AsyncIterator[Enqueue]:
    case_sensitive = await asyncio.to_thread(tells_case_apart, found.data_dir)
    writer = Writer(await asyncio.to_thread(open_writer, found.queue), found.queue)
    try:
        yield Enqueue(writer, template_of(resolved), now=time.time(), case_sensitive=case_sensitive)
    finally:
        await asyncio.to_thread(writer.close)  # it waits for the lock that an engine may hold


def tells_case_apart(folder: Path) -> bool:
    """Whether `a` and `A` are two files in `folder`, or in its nearest parent that exists. Blocks.

    Where nothing may be written it counts as so, for the run will say what is wrong there.
    """
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(prefix="asyncdl-case-", dir=place) as probe:
            return not place.joinpath(Path(probe.name).name.swapcase()).exists()
    except OSError:
        return True


def _n_known(queue: Path, resolved: Resolved, batch: Batch) -> int:
    """How many files of `batch` are in the queue. For a dry run, which must not write."""
    if not queue.exists():
        return 0
    with Reader(queue) as reader:
        files = ((subset, artifact.path) for subset, artifact, _ in batch)
        return reader.n_known(resolved.name, resolved.revision, files)


def _intake(
    resolved: Resolved, survey: Survey, recipe: Recipe | None, enqueued: Enqueued | None, n_known: int
) -> Intake:
    free_bytes = room.free(survey.data_dir).free_bytes
    return Intake(
        resolved=resolved, survey=survey, recipe=recipe, enqueued=enqueued, n_known=n_known, free_bytes=free_bytes
    )
