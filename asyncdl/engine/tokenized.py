"""What the shards of one recipe hold: its manifest.json, and a stats.json for each split.

Derived from the queue. Splits that other queues put into the same folder stay in the manifest. The manifest holds no
time, so that the same work gives the same bytes; the figures of how long it took are in the stats.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

from asyncdl.core.model import Digest, Recipe
from asyncdl.core.names import split_name
from asyncdl.core.recipes import BYTES_PER_ID
from asyncdl.disk.layout import tokenized_dir
from asyncdl.engine.json_file import Lines, alone_in, joined, publish
from asyncdl.errors import ConfigError
from asyncdl.store.reader import Reader, TokenizedRow

SCHEMA_VERSION = 1

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""Of no bytes (FIPS 180-4)."""

MAX_PLACES = 100
"""Skipped lines of a split that stats.json names; all of them are counted."""


def write_tokenized(reader: Reader, recipe: Recipe, data_dir: Path) -> None:
    """Write manifest and stats of one recipe over all datasets; nothing where nothing is finished.

    Raises OSError, ConfigError where the folder holds shards of another recipe.
    """
    sums = [Sums.of(reader, recipe, *split) for split in reader.tokenized_splits()]
    finished = [one for one in sums if one.n_jobs]
    if not finished:
        return
    folder = tokenized_dir(data_dir, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "manifest.json"
    with alone_in(folder):
        others = _others(place, recipe, {split_name(*split) for split in reader.tokenized_names()})
        publish(place, _manifest(reader, recipe, finished, others, data_dir), n_header_lines=0)
    for one in finished:
        split = folder / one.name
        if split.is_dir():  # a folder that a person has removed stays removed
            publish(
                split / "stats.json",
                iter((orjson.dumps(one.stats(), option=orjson.OPT_INDENT_2), b"\n")),
                n_header_lines=0,
            )


@dataclass(slots=True)
class Sums:
    """Sums over the finished tokenize jobs of one split."""

    dataset: str
    subset: str
    n_jobs: int = 0
    n_files: int = 0
    n_shards: int = 0
    n_sequences: int = 0
    n_documents: int = 0
    n_tokens: int = 0
    n_padding: int = 0
    n_dropped: int = 0
    text_bytes: int = 0
    n_lines: int = 0
    cpu_s: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)
    n_bad: Counter[str] = field(default_factory=Counter)
    histogram: list[int] = field(default_factory=list)
    backends: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)
    places: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, reader: Reader, recipe: Recipe, dataset: str, subset: str) -> Sums:
        """Read and add up what is finished."""
        sums = cls(dataset, subset)
        for row in reader.tokenized_of(recipe.id, dataset, subset):
            sums._add(row, orjson.loads(row.result))
        return sums

    @property
    def name(self) -> str:
        return split_name(self.dataset, self.subset)

    def _add(self, row: TokenizedRow, result: dict[str, Any]) -> None:
        self.n_jobs += 1
        sources = list(_sources(row))
        self.n_files += len(sources)
        self.empty += [str(source["path"]) for source in sources if source["sha256"] == EMPTY_SHA256]
        self.n_shards += len(result["shards"])
        self.n_sequences += sum(shard["n_sequences"] for shard in result["shards"])
        self.n_documents += result["n_documents"]
        self.n_tokens += result["n_tokens"]
        self.n_padding += result["n_padding"]
        self.n_dropped += result["n_dropped"]
        self.text_bytes += result["text_bytes"]
        self.n_lines += result.get("n_lines", 0)
        self.cpu_s += result.get("cpu_s", 0.0)
        self.backends.add(result["backend"])
        if note := result.get("backend_note"):
            self.notes.add(note)
        self.counted.update({name: result.get(name, 0) for name in ("n_split", "n_special", "n_null")})
        self.n_bad.update(dict(result.get("n_bad", ())))
        self.histogram = [a + b for a, b in zip_longest(self.histogram, result.get("histogram", ()), fillvalue=0)]
        self.refused += result.get("refused", ())
        for bad in result.get("bad_lines", ())[: MAX_PLACES - len(self.places)]:
            self.places.append(bad if row.part == 0 else bad | {"line": None})  # counted from where the part begins

    def counts(self) -> dict[str, Any]:
        """Return the counts of the manifest's entry."""
        return {
            "path": self.name, "shards": self.n_shards, "sequences": self.n_sequences, "samples": self.n_documents,
            "tokens": self.n_tokens, "padding": self.n_padding, "dropped": self.n_dropped,
        }  # fmt: skip

    def stats(self) -> dict[str, Any]:
        """Return what stats.json says."""
        return {
            "schema_version": SCHEMA_VERSION,
            **self.counts(),
            "files": self.n_files,
            "text_bytes": self.text_bytes,
            "bytes_per_token": round(self.text_bytes / self.n_tokens, 3) if self.n_tokens else None,
            "document_tokens": _ranges(self.histogram),
            "split_documents": self.counted["n_split"],
            "special_tokens_in_text": self.counted["n_special"],
            "rows_without_text": self.counted["n_null"],
            "lines": self.n_lines,
            "skipped_lines": {
                "count": self.n_bad.total(),
                "by_class": dict(sorted(self.n_bad.items())),
                "first": self.places,
            },
            "refused_files": self.refused,
            "empty_files": self.empty,
            "backend": "+".join(sorted(self.backends)),
            "backend_notes": sorted(self.notes),
            "cpu_s": round(self.cpu_s, 3),
            "text_mb_per_cpu_s": round(self.text_bytes / 1e6 / self.cpu_s, 2) if self.cpu_s else None,
        }


def _ranges(histogram: list[int]) -> list[dict[str, int]]:
    """[k] counts the documents of [2^(k-1), 2^k) tokens, [0] those of none; as half-open ranges, without empty ones."""
    return [{"from": (1 << k) >> 1, "below": 1 << k, "documents": n} for k, n in enumerate(histogram) if n]


def require_own_folder(place: Path, recipe: Recipe) -> None:
    """Raise ConfigError where the manifest at `place` is of shards that were made in another way."""
    _others(place, recipe, set())


def _others(place: Path, recipe: Recipe, ours: set[str]) -> dict[str, Any]:
    """Return the splits of the manifest at `place` that this queue knows nothing of, as they stand there.

    Raises ConfigError where they were made in another way: one folder holds the shards of one recipe.
    """
    try:
        manifest = orjson.loads(place.read_bytes())
        splits = dict(manifest["splits"])
        made_with = {name: manifest.get(name) for name in ("tokenizer_sha256", "max_seq_length", "labels")}
        made_with["options"] = _that_count(manifest.get("options", {}))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # what cannot be read is written anew
    wanted = {
        "tokenizer_sha256": recipe.tokenizer_sha256, "max_seq_length": recipe.max_seq_length,
        "labels": recipe.options.labels, "options": _that_count(recipe.options.unusual()),
    }  # fmt: skip
    if splits and made_with != wanted:
        raise ConfigError(
            f"{place} is the manifest of shards made in another way",
            hint="move it away, or choose another --output; the shards are there, their manifest is not written",
        )
    return {name: split for name, split in splits.items() if name not in ours}


def _that_count(options: dict[str, Any]) -> dict[str, Any]:
    """Those that the shards depend on."""
    return {name: value for name, value in options.items() if name != "max_bad_share"}


def _manifest(reader: Reader, recipe: Recipe, finished: list[Sums], others: dict[str, Any], data_dir: Path) -> Lines:
    """The fields of the replaced tokenizer's manifest, which trainers read, and then ours (seed 001)."""
    options = recipe.options
    head = {
        "tokenizer": recipe.tokenizer,
        "tokenizer_sha256": recipe.tokenizer_sha256,
        "max_seq_length": recipe.max_seq_length,
        "shard_size_gb": options.max_shard_tokens * BYTES_PER_ID / 1e9,
        "labels": options.labels,
        "eos_id": recipe.eos_id,
        "vocab_size": recipe.vocab_size,
        "options": options.unusual(),
        "backend": "+".join(sorted(set().union(*(sums.backends for sums in finished)))),
        "input_path": os.path.relpath(data_dir / "raw", tokenized_dir(data_dir, recipe)),
        "output_path": ".",
        "files_processed": sum(sums.n_files for sums in finished),
    }
    yield b'{"schema_version":%d,\n' % SCHEMA_VERSION
    yield orjson.dumps(head, option=orjson.OPT_INDENT_2)[2:-2]  # without its braces
    yield b',\n"splits":{\n'
    for n, sums in enumerate(finished):
        yield b",\n" if n else b""
        yield from _split(reader, recipe, sums)
    for name, split in others.items():
        yield b",\n" + orjson.dumps(name) + b":" + orjson.dumps(split)
    yield b"\n}}\n"


def _split(reader: Reader, recipe: Recipe, sums: Sums) -> Lines:
    rows = (recipe.id, sums.dataset, sums.subset)
    yield orjson.dumps(sums.name) + b":" + orjson.dumps(sums.counts())[:-1]
    yield b',"shard_files":[\n'
    yield from joined(orjson.dumps(shard) for row in reader.tokenized_of(*rows) for shard in _shard_files(row))
    yield b'],"sources":[\n'
    yield from joined(orjson.dumps(source) for row in reader.tokenized_of(*rows) for source in _sources(row))
    yield b"]}"


def _shard_files(row: TokenizedRow) -> Iterator[dict[str, Any]]:
    for shard in orjson.loads(row.result)["shards"]:
        yield {
            "name": shard["name"], "sequences": shard["n_sequences"], "size": shard["size_bytes"],
            "sha256": shard["sha256"],
        }  # fmt: skip


def _sources(row: TokenizedRow) -> Iterator[dict[str, str | None]]:
    """What a job read: a file, or those of a group; a file in parts stands there once, with the first of them."""
    if row.part:
        return
    inputs = orjson.loads(row.result).get("inputs") or {row.path: ""}
    for file, sha256 in inputs.items():
        found = sha256 or (sha256_of(row.download_result, row.digest) if file == row.path else None)
        yield {"dataset": row.dataset, "revision": row.revision, "path": file, "sha256": found}


def sha256_of(download_result: str | None, digest: str | None) -> str | None:
    """What the bytes were found to hash to, or else what the source promises."""
    found = orjson.loads(download_result).get("sha256") if download_result else None
    if found or digest is None:
        return found
    promised = Digest.parse(digest)
    return promised.hex if promised.name == "sha256" else None
