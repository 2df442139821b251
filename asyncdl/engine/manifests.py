"""Manifests for other programs, written from the database: what is on disk, and what the shards hold.

Rows stream through; memory does not grow with the number of files. A plain function, to be called in a thread: it waits
for the disk and for SQLite, both of which release the interpreter.
"""

from __future__ import annotations

import errno
import time
from itertools import chain
from pathlib import Path

import orjson

from asyncdl.core.model import Recipe
from asyncdl.core.retry import REFUSED_CONTENT
from asyncdl.engine.json_file import Lines, alone_in, joined, publish
from asyncdl.engine.tokenized import sha256_of, write_tokenized
from asyncdl.errors import ConfigError, NoRoomError
from asyncdl.store.reader import FileRow, Reader

SCHEMA_VERSION = 1


def write_manifests(queue: Path, data_dir: Path) -> None:
    """Bring download_manifest.json and every tokenized/<recipe>/manifest.json up to what the queue says.

    Raises NoRoomError or ConfigError where they cannot be written; the old ones stay as they were.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with alone_in(queue.parent), Reader(queue) as reader:
            publish(data_dir / "download_manifest.json", _download_manifest(reader), n_header_lines=1)
            refused = [error for recipe in reader.recipes() if (error := _tokenized(reader, recipe, data_dir))]
            if refused:
                raise refused[0]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoomError(f"no room for the manifests in {data_dir}", hint="make room, then run again") from error
        raise ConfigError(
            f"the manifests cannot be written: {error}", hint="check the owner and the rights of the data dir"
        ) from error


def _tokenized(reader: Reader, recipe: Recipe, data_dir: Path) -> ConfigError | None:
    """A folder with shards of another recipe must not keep the manifests of others from being written."""
    try:
        with reader.snapshot():
            write_tokenized(reader, recipe, data_dir)
    except ConfigError as error:
        return error
    return None


def _download_manifest(reader: Reader) -> Lines:
    """A line for each file, so that it can be read without a JSON parser for gigabytes."""
    yield b'{"schema_version":%d,"generated_at":%.3f,"files":[\n' % (SCHEMA_VERSION, time.time())
    yield from joined(orjson.dumps(_file(row)) for row in reader.files())
    yield b"]}\n"


def _file(row: FileRow) -> dict[str, object]:
    state = _state(row)
    return {
        "dataset": row.dataset,
        "revision": row.revision,
        "path": row.path,
        "local_path": f"{row.local_root}/{row.path}",
        "size": row.size_bytes,
        "sha256": sha256_of(row.result, row.digest),
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
