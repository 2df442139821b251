"""What the manifest of a folder of packed shards says: read from its JSON, and held against itself.

Invariant: no name in it leads out of the folder of its split, nor that out of the manifest's. Knows nothing of disks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from asyncdl.core.names import SafePath, display, safe_path
from asyncdl.errors import UnsafeNameError

SCHEMA_VERSION = 1

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PackedShard:
    """name: one step, relative to the folder of its split."""

    name: SafePath
    n_sequences: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PackedSplit:
    """folder: relative to that of the manifest. The counts of the whole split are None where the manifest has none."""

    name: str
    folder: SafePath
    shards: tuple[PackedShard, ...]
    n_shards: int | None
    n_sequences: int | None
    n_tokens: int | None
    n_padding: int | None


@dataclass(frozen=True, slots=True)
class Packed:
    """max_seq_length: of every sequence. labels, vocab_size: None where the manifest does not tell them."""

    max_seq_length: int
    labels: Literal["shifted", "hf"] | None
    vocab_size: int | None
    splits: tuple[PackedSplit, ...]

    @property
    def n_shards(self) -> int:
        return sum(len(split.shards) for split in self.splits)

    @property
    def n_bytes(self) -> int:
        return sum(shard.size_bytes for split in self.splits for shard in split.shards)


def parse(document: object) -> Packed:
    """Return what a decoded manifest.json says. Raises ValueError with what is wrong, UnsafeNameError."""
    manifest = _object(document, "the manifest")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"it is not a manifest of schema_version {SCHEMA_VERSION}")
    labels = manifest.get("labels")
    if labels not in ("shifted", "hf", None):
        raise ValueError(f"its labels are {_short(labels)}, which is no convention")
    splits = _object(manifest.get("splits"), "`splits`")
    return Packed(
        max_seq_length=_count(manifest, "max_seq_length", least=1),
        labels=labels,
        vocab_size=_count_if_any(manifest, "vocab_size"),
        splits=tuple(_split(name, split) for name, split in splits.items()),
    )


def _split(name: str, value: object) -> PackedSplit:
    split = _object(value, f"the split {_short(name)}")
    files = split.get("shard_files")
    if not isinstance(files, list):
        raise ValueError(f"the split {_short(name)} has no list `shard_files`")  # noqa: TRY004 - of the document, no bug
    return PackedSplit(
        name=name,
        folder=safe_path(_text(split, "path")),
        shards=tuple(_shard(file) for file in files),
        n_shards=_count_if_any(split, "shards"),
        n_sequences=_count_if_any(split, "sequences"),
        n_tokens=_count_if_any(split, "tokens"),
        n_padding=_count_if_any(split, "padding"),
    )


def _shard(value: object) -> PackedShard:
    shard = _object(value, "an entry of `shard_files`")
    name, sha256 = _text(shard, "name"), _text(shard, "sha256")
    if "/" in name:
        raise UnsafeNameError(f"the shard {_short(name)} was refused: it is not in the folder of its split")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"the shard {_short(name)} has no sha256 of 64 small hexadecimal digits")
    return PackedShard(safe_path(name), _count(shard, "sequences"), _count(shard, "size"), sha256)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")  # noqa: TRY004 - of the document, no bug
    return value


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise ValueError(f"`{key}` of an entry is {_short(value)}, not a text")  # noqa: TRY004 - of the document, no bug
    return value


def _count(entry: dict[str, Any], key: str, *, least: int = 0) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{key}` is {_short(value)}, not a whole number from {least} up")
    return value


def _count_if_any(entry: dict[str, Any], key: str) -> int | None:
    return None if entry.get(key) is None else _count(entry, key)


def _short(value: object) -> str:
    return display(str(value)[:80])


def faults_of(split: PackedSplit, max_seq_length: int) -> Iterator[str]:
    """Yield what does not add up within the manifest: each token and each sequence must be accounted for."""
    names = [shard.name for shard in split.shards]
    if len(set(names)) != len(names):
        yield "a shard is listed twice"
    if split.n_shards not in (None, len(names)):
        yield f"{split.n_shards} shards are said to be there, and {len(names)} are listed"
    n_sequences = sum(shard.n_sequences for shard in split.shards)
    if split.n_sequences not in (None, n_sequences):
        yield f"{split.n_sequences} sequences are said to be there, and its shards have {n_sequences}"
    if split.n_tokens is None or split.n_padding is None:
        return
    said, held = split.n_tokens + split.n_padding, n_sequences * max_seq_length
    if said != held:
        yield (
            f"{split.n_tokens} tokens and {split.n_padding} of padding make {said},"
            f" and {n_sequences} sequences of {max_seq_length} hold {held}"
        )
