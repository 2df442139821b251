"""What a folder of shards holds: its manifest, and the footers of the shards, held against each other.

Invariant: what is given back is there, of one length, and has as many sequences as the manifest says. Reads no sequence
and knows nothing of order, ranks or batches.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import ConfigError, UsageError
from asyncdl.loader.shard import Shard, ShardFile

SCHEMA_VERSION = 1
N_READERS = 8
"""Footers read at once: they are small, and on a network file system each is a wait. A guess."""


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """The shards of the chosen splits, in the order of the manifest, and all their row groups.

    shard_of, group_of, n_sequences: for each row group its shard, its number there, and its size; shape (n_groups,).
    pad_id: what fills a sequence of padding. digest: of names, lengths and sha256 of the shards.
    """

    shards: tuple[Shard, ...]
    shard_of: NDArray[np.int64]
    group_of: NDArray[np.int64]
    n_sequences: NDArray[np.int64]
    length: int
    pad_id: int
    digest: str


def read_shards(path: Path, splits: tuple[str, ...] | None) -> Shards:
    """Read a manifest (or the one in the folder `path`) and the footers of its shards.

    Raises ConfigError, UsageError for an unknown split, ShardError.
    """
    place = path if path.name == "manifest.json" else path / "manifest.json"
    manifest = _manifest(place)
    try:
        chosen = _chosen(manifest["splits"], splits)
        length, pad_id = int(manifest["max_seq_length"]), int(manifest.get("eos_id") or 0)
        shards = tuple(
            Shard(place.parent / split["path"] / shard["name"], shard["sequences"], shard["size"], shard["sha256"])
            for split in chosen.values()
            for shard in split["shard_files"]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{place} does not say what the shards are: {error!r}",
            hint="load_tokens reads the manifest.json that `asyncdl run` writes; running it again writes it anew",
        ) from error
    with ThreadPoolExecutor(N_READERS) as pool:
        groups = list(pool.map(lambda shard: _group_sizes(shard, length), shards))
    counts = [len(sizes) for sizes in groups]
    return Shards(
        shards,
        shard_of=np.repeat(np.arange(len(shards)), counts),
        group_of=np.concatenate([np.arange(0), *(np.arange(count) for count in counts)]),
        n_sequences=np.concatenate([np.empty(0, np.int64), *groups]),
        length=length,
        pad_id=pad_id,
        digest=_digest(shards, length),
    )


def _manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = orjson.loads(place.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"there is no {place}", hint=_where_else(place.parent)) from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigError(
            f"{place} cannot be read: {error}", hint="`asyncdl run` writes it anew from the queue"
        ) from error
    if isinstance(manifest, dict) and manifest.get("schema_version") == SCHEMA_VERSION:
        return manifest
    raise ConfigError(
        f"{place} is not a manifest of schema_version {SCHEMA_VERSION}",
        hint="load_tokens reads what `asyncdl run` writes; for another version take the asyncdl that wrote it",
    )


def _where_else(folder: Path) -> str:
    """Offer the folders below that have a manifest: people name the data dir."""
    below = [*folder.glob("*/manifest.json"), *folder.glob("tokenized/*/manifest.json")]
    return did_you_mean(tuple(sorted(str(found.parent) for found in below)[:5])) or (
        "give the folder tokenized/<tokenizer>-<length> of the data dir; `asyncdl run` writes its manifest"
    )


def _chosen(known: dict[str, Any], names: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the splits called `names`, each once, in the order of the manifest whatever the order of `names`."""
    if names is None:
        return known
    for name in names:
        if name not in known:
            hint = did_you_mean(near(name, known)) or f"the manifest has {', '.join(sorted(known))}"
            raise UsageError(f"there is no split {name}", hint=hint)
    if not names:
        raise UsageError("no split was chosen", hint="leave `splits` out to have all")
    return {name: split for name, split in known.items() if name in names}


def _group_sizes(shard: Shard, length: int) -> NDArray[np.int64]:
    with ShardFile(shard, length) as file:
        return file.sizes()


def _digest(shards: tuple[Shard, ...], length: int) -> str:
    """Name the data: the same shards in the same order, wherever they lie."""
    lines = (f"{shard.path.parent.name}/{shard.path.name} {shard.n_sequences} {shard.sha256}\n" for shard in shards)
    return hashlib.sha256("".join([f"{length}\n", *lines]).encode()).hexdigest()
