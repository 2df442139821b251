"""What lies at the path of an upload: packed shards that are checked against their manifest first, or Parquet files.

Invariant: what is gathered was read to its end in this run, and its digest is that of its manifest where it has one.
Knows nothing of the Hub but how it names files.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import orjson

from asyncdl.core.model import Digest
from asyncdl.core.names import SafePath, display, safe_path
from asyncdl.core.packed import Packed, PackedSplit, parse
from asyncdl.core.uploads import CARD, Config, Local, config_of
from asyncdl.engine.checking import CHECK_BYTES_PER_S, TIMEOUT_BASE_S, UNCHECKED, Report, check
from asyncdl.engine.pool import Pool
from asyncdl.errors import ConfigError, ShardError, TransferError, UsageError
from workers.contract import DescribeFileTask, FileDescribed, Rejected

MANIFEST = "manifest.json"
STATS = "stats.json"
N_TOLD = 5
"""Wrong shards that the error names; `asyncdl verify` names all. Guess."""


@dataclass(slots=True)
class Gathered:
    """files: shards first, in the order of their paths. configs: for a card. card: the folder's own README.md."""

    files: list[Local] = field(default_factory=list)
    configs: list[Config] = field(default_factory=list)
    card: bytes | None = None


async def gather(path: Path, prefix: str, pool: Pool, report: Report) -> Gathered:
    """Look at all that lies at `path` and is for the repo, whose folder `prefix` ('' is the root) it goes into.

    Raises UsageError where nothing is, ShardError for what is not as its manifest or its format says, ConfigError.
    """
    folder = path.parent if path.name == MANIFEST else path
    try:
        if (folder / MANIFEST).is_file():
            found = await _packed(folder, prefix, pool, report)
        else:
            found = await _plain(path, prefix, pool, report)
        if folder.is_dir() and (folder / CARD).is_file():
            found.card = (folder / CARD).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its rights and owner") from error
    found.files.sort(key=lambda file: (not file.path.endswith(".parquet"), file.path))
    return found


async def _packed(folder: Path, prefix: str, pool: Pool, report: Report) -> Gathered:
    manifest = folder / MANIFEST
    text = manifest.read_bytes()
    try:
        packed = parse(orjson.loads(text))
    except ValueError as error:
        raise ShardError(f"{manifest} is no manifest of shards: {display(str(error))}") from error
    shards = list(_shards(folder, prefix, packed))  # before they are read, for the time each was changed
    await check([manifest], pool, report, deep=False)
    _refuse_wrong(report)
    if manifest.read_bytes() != text:
        raise ConfigError(
            f"{manifest} was changed while its shards were checked", hint="upload when `asyncdl run` has ended"
        )
    found = Gathered(shards, [await _config(folder, prefix, split, pool) for split in packed.splits if split.shards])
    jsons = [f"{split.folder}/{STATS}" for split in packed.splits if (folder / split.folder / STATS).is_file()]
    found.files += [text_file(_under(prefix, name), (folder / name).read_bytes()) for name in jsons]
    found.files.append(text_file(_under(prefix, MANIFEST), text))
    return found


def _shards(folder: Path, prefix: str, packed: Packed) -> Iterator[Local]:
    for split in packed.splits:
        for shard in split.shards:
            place = folder / split.folder / shard.name
            path = safe_path(_under(prefix, f"{split.folder}/{shard.name}"))
            yield Local(path, str(place), shard.size_bytes, (Digest("sha256", shard.sha256),), _mtime_ns(place))


def _mtime_ns(place: Path) -> int:
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0  # the check tells what is wrong with it


def _refuse_wrong(report: Report) -> None:
    problems = sorted(report.problems)
    if not problems:
        return
    named = "; ".join(f"{one.path}: {one.message}" for one in problems[:N_TOLD])
    more = f"; and {len(problems) - N_TOLD} more" if len(problems) > N_TOLD else ""
    if all(one.error_class in UNCHECKED for one in problems):
        raise ConfigError(f"{named}{more}", hint="nothing was uploaded; check the rights and the disk")
    raise ShardError(
        f"{named}{more}", hint="nothing was uploaded; `asyncdl verify` tells all of it, and how to make them anew"
    )


async def _config(folder: Path, prefix: str, split: PackedSplit, pool: Pool) -> Config:
    place = folder / split.folder / split.shards[0].name
    described = await _describe(place, pool)
    return config_of(split.name, _under(prefix, split.folder), "shard_*.parquet", described.features)


def text_file(path: str, content: bytes) -> Local:
    """Return a small file of the repo. It is no LFS file there, hence git's digest beside its sha256."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    digests = (Digest("sha256", hashlib.sha256(content).hexdigest()), Digest("git-sha1", blob))
    return Local(safe_path(path), "", len(content), digests, content=content)


async def _plain(path: Path, prefix: str, pool: Pool, report: Report) -> Gathered:
    named = _named(path, prefix)
    report.n_shards_known = len(named)
    report.n_bytes_known = sum(place.stat().st_size for place, _ in named)
    found = Gathered()
    features: dict[str, str] = {}
    waiting = iter(named)

    async def take() -> None:
        for place, name in waiting:
            mtime_ns = place.stat().st_mtime_ns
            said = await _describe(place, pool)
            digest = Digest("sha256", said.sha256)
            found.files.append(Local(name, str(place), said.size_bytes, (digest,), mtime_ns))
            features.setdefault(str(PurePosixPath(name).parent), said.features)
            report.n_shards_done += 1
            report.n_bytes_done += said.size_bytes

    await _all(take() for _ in range(pool.n_processes))
    for one in sorted(features):
        inner = "" if one == "." else one
        below = str(PurePosixPath(inner).relative_to(prefix)) if prefix else inner
        found.configs.append(config_of("" if below == "." else below, inner, "*.parquet", features[one]))
    return found


def _named(path: Path, prefix: str) -> list[tuple[Path, SafePath]]:
    """Return each file with its path in the repo, in order. Raises UsageError where there is none, UnsafeNameError."""
    folder = path if path.is_dir() else path.parent
    places = sorted(_parquet_below(path)) if path.is_dir() else [path]
    if not places:
        raise UsageError(f"{path} has no Parquet files", hint="give a folder of them, one file, or a tokenized folder")
    return [(place, safe_path(_under(prefix, place.relative_to(folder).as_posix()))) for place in places]


async def _all(works: Iterable[object]) -> None:
    """Run all to their end; the first error ends them all and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                assert asyncio.iscoroutine(work)
                group.create_task(work)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _parquet_below(folder: Path) -> Iterator[Path]:
    for place in folder.rglob("*.parquet"):
        hidden = any(step.startswith(".") for step in place.relative_to(folder).parts)
        if place.is_file() and not hidden:
            yield place


async def _describe(place: Path, pool: Pool) -> FileDescribed:
    size_bytes = (await asyncio.to_thread(place.stat)).st_size
    timeout_s = TIMEOUT_BASE_S + size_bytes / CHECK_BYTES_PER_S
    try:
        outcome = await pool.run(DescribeFileTask(path=str(place)), timeout_s=timeout_s)
    except TransferError as error:
        raise ConfigError(f"{place} could not be read: {error.message}") from error
    if isinstance(outcome, Rejected):
        raise ShardError(f"{place}: {outcome.message}", hint="nothing was uploaded")
    assert isinstance(outcome, FileDescribed)
    return outcome


def _under(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if prefix else path
