"""Checks folders of packed shards against their manifests: in the process pool, one task for each child at a time.

Invariant: what a manifest names outside its own folder is never opened, and nothing is changed. One manifest is held in
memory, two at the seam. Reads only files: neither the queue nor what wrote them matters here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from asyncdl.core.names import display
from asyncdl.core.packed import Packed, PackedShard, PackedSplit, faults_of, parse
from asyncdl.engine.pool import Pool
from asyncdl.errors import TransferError, UnsafeNameError
from workers.contract import CheckShardTask, Rejected, ShardChecked

TIMEOUT_BASE_S = 60.0
CHECK_BYTES_PER_S = 2e6
"""A check that is slower is hung: a twentieth of a slow network disk. Guess."""

UNCHECKED = frozenset({"unreadable", "worker_error", "worker_crashed", "worker_timeout"})
"""Classes of problems that prove nothing against a shard: it, or its manifest, could not be looked at."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A problem or a warning. path: of the shard or the manifest, fit for showing, as is the message."""

    path: str
    error_class: str
    message: str


@dataclass(slots=True, kw_only=True)
class Report:
    """What has been found so far; whoever shows progress may look at any moment.

    known: shards and bytes that the manifests read so far list. done: those of them that were looked at.
    """

    manifests: list[str] = field(default_factory=list)
    n_shards_known: int = 0
    n_bytes_known: int = 0
    n_shards_done: int = 0
    n_bytes_done: int = 0
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def problem(self, path: Path, error_class: str, message: str) -> None:
        self.problems.append(_finding(path, error_class, message))


async def check(manifests: Iterable[Path], pool: Pool, report: Report, *, deep: bool) -> None:
    """Check every shard of every manifest and tell `report`. Whatever is wrong is a problem there, never an exception.

    deep: as in CheckShardTask; also holds what the shards of a split have together against what is said of it.
    """
    checks = _checks(manifests, report, deep=deep)  # shared: whoever is free takes the next
    async with asyncio.TaskGroup() as group:
        for _ in range(pool.n_processes):
            group.create_task(_take(checks, pool, report))


@dataclass(slots=True)
class _Split:
    """A split that is being checked. n_left: shards without an outcome yet. all_right: no outcome was a problem."""

    manifest: Path
    said: PackedSplit
    n_left: int
    n_tokens: int = 0
    n_padding: int = 0
    all_right: bool = True


@dataclass(frozen=True, slots=True)
class _Check:
    """path: of the shard, as it is shown."""

    path: Path
    task: CheckShardTask
    split: _Split


async def _take(checks: Iterator[_Check], pool: Pool, report: Report) -> None:
    for one in checks:
        path, split = one.path, one.split
        try:
            timeout_s = TIMEOUT_BASE_S + one.task.size_bytes / CHECK_BYTES_PER_S
            outcome = await pool.run(one.task, timeout_s=timeout_s)
        except TransferError as error:
            report.problem(path, error.error_class, f"could not be checked: {error.message}")
            split.all_right = False
        else:
            if isinstance(outcome, Rejected):
                report.problem(path, outcome.error_class, outcome.message)
                split.all_right = False
            else:
                assert isinstance(outcome, ShardChecked)
                split.n_tokens += outcome.n_tokens
                split.n_padding += outcome.n_padding
        report.n_shards_done += 1
        report.n_bytes_done += one.task.size_bytes
        split.n_left -= 1
        if one.task.deep and split.n_left == 0 and split.all_right:
            _check_counts(split, report)


def _check_counts(split: _Split, report: Report) -> None:
    """Hold what was counted in all shards of a split against what is said of it."""
    said = split.said
    for what, counted, wanted in (
        ("tokens", split.n_tokens, said.n_tokens),
        ("places of padding", split.n_padding, said.n_padding),
    ):
        if wanted not in (None, counted):
            message = f"split {said.name}: {wanted} {what} are said to be there, and its shards have {counted}"
            report.problem(split.manifest, "counts_differ", message)


def _checks(manifests: Iterable[Path], report: Report, *, deep: bool) -> Iterator[_Check]:
    """Yield what is to be checked, reading one manifest after the other as they are needed."""
    for manifest in manifests:
        report.manifests.append(display(str(manifest)))
        try:
            packed = parse(orjson.loads(manifest.read_bytes()))
        except UnsafeNameError as error:
            report.problem(manifest, "unsafe_name", error.message)
        except (OSError, ValueError) as error:  # orjson's is a ValueError
            report.problem(manifest, "unreadable", f"cannot be read as a manifest of shards: {error}")
        else:
            report.n_shards_known += packed.n_shards
            report.n_bytes_known += packed.n_bytes
            yield from _checks_of(manifest, packed, report, deep=deep)


def _checks_of(manifest: Path, packed: Packed, report: Report, *, deep: bool) -> Iterator[_Check]:
    root = manifest.parent.resolve()
    _warn_of_strangers(manifest, packed, report)
    for said in packed.splits:
        for fault in faults_of(said, packed.max_seq_length):
            report.problem(manifest, "counts_differ", f"split {said.name}: {fault}")
        split = _Split(manifest, said, n_left=len(said.shards))
        for shard in said.shards:
            path = manifest.parent / said.folder / shard.name
            if _leads_out(path, root):
                report.problem(
                    path, "unsafe_name", "was not opened: a symbolic link leads out of the manifest's folder"
                )
                split.all_right = False
                split.n_left -= 1
            else:
                yield _Check(path, _task(path, shard, packed, deep=deep), split)


def _task(path: Path, shard: PackedShard, packed: Packed, *, deep: bool) -> CheckShardTask:
    return CheckShardTask(
        path=str(path.absolute()),
        size_bytes=shard.size_bytes,
        sha256=shard.sha256,
        n_sequences=shard.n_sequences,
        max_seq_length=packed.max_seq_length,
        deep=deep,
        vocab_size=packed.vocab_size,
        labels=packed.labels,
    )


def _leads_out(path: Path, root: Path) -> bool:
    """Whether the file is elsewhere than below `root`, once links are followed; a ring of links leads nowhere."""
    try:
        return not path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return True


def _warn_of_strangers(manifest: Path, packed: Packed, report: Report) -> None:
    """Tell of shards in the folders of the splits that no entry names: who reads by a glob takes them for data."""
    named: dict[str, set[str]] = {}
    for split in packed.splits:
        named.setdefault(split.folder, set()).update(shard.name for shard in split.shards)
    root = manifest.parent.resolve()
    for folder, names in named.items():
        place = manifest.parent / folder
        if _leads_out(place, root):
            continue  # its shards are refused one by one
        for path in sorted(place.glob("shard_*.parquet")):
            if path.name not in names:
                message = "no entry of the manifest names it, and readers that glob take it for data"
                report.warnings.append(_finding(path, "not_in_manifest", message))


def _finding(path: Path, error_class: str, message: str) -> Finding:
    return Finding(display(str(path)), error_class, display(message))
