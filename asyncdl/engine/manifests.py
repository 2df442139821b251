"""Manifests for other programs, written from the database: what is on disk, and what the shards hold.

A manifest is whole or not there: it is written under a partial name, synced and renamed, and only when it says
something new. Rows stream through; memory does not grow with the number of files. A plain function, to be called
in a thread: it waits for the disk and for SQLite, both of which release the interpreter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from asyncdl.core.model import Digest, Recipe
from asyncdl.core.names import split_name
from asyncdl.core.retry import REFUSED_CONTENT
from asyncdl.core.stages import MAX_SHARD_TOKENS
from asyncdl.disk.layout import PARTIAL, tokenized_dir
from asyncdl.disk.partial import sync_folder
from asyncdl.errors import ConfigError, NoRoomError
from asyncdl.store.reader import FileRow, Reader, TokenizedRow

SCHEMA_VERSION = 1

BYTES_PER_ID = 4

COMPARE_BYTES = 1 << 20

Lines = Iterator[bytes]


def write_manifests(queue: Path, data_dir: Path) -> None:
    """Bring download_manifest.json and every tokenized/<recipe>/manifest.json up to what the queue says.

    Raises NoRoomError or ConfigError where they cannot be written; the old ones stay as they were.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _turn(queue), Reader(queue) as reader:
            _publish(data_dir / "download_manifest.json", _download_manifest(reader), n_header_lines=1)
            for recipe in reader.recipes():
                with reader.snapshot():
                    _write_tokenized(reader, recipe, data_dir)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoomError(f"no room for the manifests in {data_dir}", hint="make room, then run again") from error
        raise ConfigError(
            f"the manifests cannot be written: {error}", hint="check the owner and the rights of the data dir"
        ) from error


@contextmanager
def _turn(queue: Path) -> Iterator[None]:
    """Engines on one queue write in turn, each what it reads after the one before.

    The lock is on the queue's folder, which is local; the data dir may be on NFS, where a folder has no flock.
    """
    fd = os.open(queue.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _publish(final: Path, lines: Lines, *, n_header_lines: int) -> None:
    """Write `lines` to `final` unless it holds them already; the header does not count as something new."""
    partial = final.with_name(final.name + PARTIAL)
    try:
        with partial.open("wb", buffering=COMPARE_BYTES) as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        if not _says_the_same(partial, final, n_header_lines):
            partial.replace(final)
            sync_folder(final.parent)
    finally:
        partial.unlink(missing_ok=True)


def _says_the_same(partial: Path, final: Path, n_header_lines: int) -> bool:
    try:
        old = final.open("rb")
    except FileNotFoundError:
        return False
    with old, partial.open("rb") as new:
        for _ in range(n_header_lines):
            old.readline()
            new.readline()
        return all(a == b for a, b in _pairs(old, new))


def _pairs(old: BinaryIO, new: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while (pair := (old.read(COMPARE_BYTES), new.read(COMPARE_BYTES))) != (b"", b""):
        yield pair


def _download_manifest(reader: Reader) -> Lines:
    """A line for each file, so that it can be read without a JSON parser for gigabytes."""
    yield b'{"schema_version":%d,"generated_at":%.3f,"files":[\n' % (SCHEMA_VERSION, time.time())
    yield from _joined(orjson.dumps(_file(row)) for row in reader.files())
    yield b"]}\n"


def _joined(entries: Iterator[bytes]) -> Lines:
    """Put commas between, and each entry on a line of its own."""
    for first in entries:
        yield first
        for entry in entries:
            yield b",\n"
            yield entry
        yield b"\n"


def _file(row: FileRow) -> dict[str, object]:
    state = _state(row)
    return {
        "dataset": row.dataset,
        "revision": row.revision,
        "path": row.path,
        "local_path": f"{row.local_root}/{row.path}",
        "size": row.size_bytes,
        "sha256": _sha256(row.result, row.digest),
        "state": state,
        "verified": _checks(row) if state == "completed" else "",
    }


def _state(row: FileRow) -> str:
    """`corrupted` is what the engine put aside: a digest or verify has proven it wrong."""
    if row.state == "discarded" and row.error_class == "digest_mismatch":
        return "corrupted"
    was_refused = row.verify_error_class in REFUSED_CONTENT and row.verify_error_class != "missing_file"
    if row.state == "completed" and row.verify_state == "discarded" and was_refused:
        return "corrupted"
    return row.state


def _checks(row: FileRow) -> str:
    """Join the checks that were really made, in order, each once: `size+digest+magic+footer`."""
    results = [row.result, row.verify_result if row.verify_state == "completed" else None]
    made = chain.from_iterable(orjson.loads(result).get("checks", ()) for result in results if result)
    return "+".join(dict.fromkeys(made))


def _sha256(download_result: str | None, digest: str | None) -> str | None:
    """What the bytes were found to hash to, or else what the source promises."""
    found = orjson.loads(download_result).get("sha256") if download_result else None
    if found or digest is None:
        return found
    promised = Digest.parse(digest)
    return promised.hex if promised.name == "sha256" else None


@dataclass(slots=True)
class _Totals:
    """Sums over the finished tokenize jobs of one split, or of all."""

    files: int = 0
    shards: int = 0
    sequences: int = 0
    samples: int = 0
    tokens: int = 0
    padding: int = 0
    dropped: int = 0
    backends: set[str] = field(default_factory=set)

    def add(self, row: TokenizedRow) -> None:
        result = orjson.loads(row.result)
        self.files += 1
        self.shards += len(result["shards"])
        self.sequences += sum(shard["n_sequences"] for shard in result["shards"])
        self.samples += result["n_documents"]
        self.tokens += result["n_tokens"]
        self.padding += result["n_padding"]
        self.dropped += result["n_dropped"]
        self.backends.add(result["backend"])


def _write_tokenized(reader: Reader, recipe: Recipe, data_dir: Path) -> None:
    """Write the manifest of one recipe over all datasets; nothing where nothing is finished.

    It holds no time, so that a second run over the same data gives the same bytes.
    """
    totals = {split: _totals(reader, recipe, split) for split in reader.tokenized_splits()}
    finished = {split: sums for split, sums in totals.items() if sums.files}
    if finished:
        folder = tokenized_dir(data_dir, recipe.name)
        folder.mkdir(parents=True, exist_ok=True)
        _publish(folder / "manifest.json", _tokenized_manifest(reader, recipe, finished), n_header_lines=0)


def _totals(reader: Reader, recipe: Recipe, split: tuple[str, str]) -> _Totals:
    totals = _Totals()
    for row in reader.tokenized_of(recipe.id, *split):
        totals.add(row)
    return totals


def _tokenized_manifest(reader: Reader, recipe: Recipe, splits: dict[tuple[str, str], _Totals]) -> Lines:
    """The fields of the replaced tokenizer's manifest, which trainers read, and then ours (seed 001)."""
    head = {
        "tokenizer": recipe.tokenizer,
        "tokenizer_sha256": recipe.tokenizer_sha256,
        "max_seq_length": recipe.max_seq_length,
        "shard_size_gb": MAX_SHARD_TOKENS * BYTES_PER_ID / 1e9,
        "labels": "shifted",
        "eos_id": recipe.eos_id,
        "backend": "+".join(sorted(set().union(*(sums.backends for sums in splits.values())))),
        "input_path": "../../raw",
        "output_path": ".",
        "files_processed": sum(sums.files for sums in splits.values()),
    }
    yield b'{"schema_version":%d,\n' % SCHEMA_VERSION
    yield orjson.dumps(head, option=orjson.OPT_INDENT_2)[2:-2]  # without its braces
    yield b',\n"splits":{\n'
    for n, (split, sums) in enumerate(splits.items()):
        yield b",\n" if n else b""
        yield from _split(reader, recipe, split, sums)
    yield b"\n}}\n"


def _split(reader: Reader, recipe: Recipe, split: tuple[str, str], sums: _Totals) -> Lines:
    name = split_name(*split)
    counts = {
        "path": name, "shards": sums.shards, "sequences": sums.sequences, "samples": sums.samples,
        "tokens": sums.tokens, "padding": sums.padding, "dropped": sums.dropped,
    }  # fmt: skip
    yield orjson.dumps(name) + b":" + orjson.dumps(counts)[:-1]
    yield b',"shard_files":[\n'
    yield from _joined(
        orjson.dumps(shard) for row in reader.tokenized_of(recipe.id, *split) for shard in _shard_files(row)
    )
    yield b'],"sources":[\n'
    yield from _joined(orjson.dumps(_source(row)) for row in reader.tokenized_of(recipe.id, *split))
    yield b"]}"


def _shard_files(row: TokenizedRow) -> Iterator[dict[str, Any]]:
    for shard in orjson.loads(row.result)["shards"]:
        yield {
            "name": shard["name"], "sequences": shard["n_sequences"], "size": shard["size_bytes"],
            "sha256": shard["sha256"],
        }  # fmt: skip


def _source(row: TokenizedRow) -> dict[str, str | None]:
    return {
        "dataset": row.dataset, "revision": row.revision, "path": row.path,
        "sha256": _sha256(row.download_result, row.digest),
    }  # fmt: skip
