"""What an upload does with each file, what goes into one commit, and what the card of a new dataset says.

Pure. Invariant: a commit only adds, and what lies there with the same digest is in none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from asyncdl.core.model import Digest
from asyncdl.core.names import SafePath

CARD = "README.md"

MAX_COMMIT_FILES = 100
"""The Hub's advice is 50 to 100 files to a commit, which must be done in 60 s (hub-docs, storage-limits)."""

MAX_COMMIT_BYTES = 20 << 30
"""At 100 MB/s a commit every three minutes; the Hub allows 128 in an hour. Guess."""

State = Literal["new", "same", "differs"]


@dataclass(frozen=True, slots=True)
class Local:
    """A file that is to be in the repo. path: in the repo. place: the absolute path here.

    content: its bytes where they are not what lies at `place` now, or lie nowhere. mtime_ns: when `digests` were taken.
    digests: of every kind that the Hub may tell.
    """

    path: SafePath
    place: str
    size_bytes: int
    digests: tuple[Digest, ...]
    mtime_ns: int = 0
    content: bytes | None = None

    @property
    def sha256(self) -> str:
        return next(digest.hex for digest in self.digests if digest.name == "sha256")


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration of the card. glob: of its files in the repo. features: '' or JSON, see workers.upload."""

    name: str
    split: str
    glob: str
    features: str


def state_of(file: Local, there: Digest | None, *, is_there: bool = True) -> State:
    """Return what a file is, compared with what the Hub lists at its path. there: None where it tells no digest."""
    if not is_there:
        return "new"
    return "same" if there in file.digests else "differs"


def batches(files: Iterable[Local]) -> Iterator[list[Local]]:
    """Cut files into commits, in order; each has one file at least, and keeps within both bounds else."""
    batch: list[Local] = []
    n_bytes = 0
    for file in files:
        if batch and (len(batch) == MAX_COMMIT_FILES or n_bytes + file.size_bytes > MAX_COMMIT_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(file)
        n_bytes += file.size_bytes
    if batch:
        yield batch


def summary_of(files: Sequence[Local]) -> str:
    """Return the first line of a commit that adds `files`."""
    if len(files) == 1:
        return f"Add {files[0].path}"
    return f"Add {len(files)} files, {files[0].path} to {files[-1].path}"


def config_of(name: str, folder: str, pattern: str, features: str) -> Config:
    """Return the configuration of the files in `folder` of the repo ('' is the root) that match `pattern`."""
    last = re.split(r"[-/]+", name)[-1]
    split = last if last in ("train", "validation", "test") else "train"
    escaped = re.sub(r"([*?[])", r"[\1]", f"{folder}/" if folder else "")
    return Config(re.sub(r"[<>:/\\|?*]+", "--", name) or "default", split, f"{escaped}{pattern}", features)


def card_of(title: str, configs: Sequence[Config]) -> str:
    """Return README.md: what `datasets` needs to load each config, and a line for people. Scalars are JSON."""
    info: list[Mapping[str, Any]] = [
        {"config_name": config.name, "features": json.loads(config.features)} for config in configs if config.features
    ]
    described: dict[str, Any] = {
        "configs": [
            {"config_name": config.name, "data_files": [{"split": config.split, "path": config.glob}]}
            for config in configs
        ]
    }
    if info:
        described["dataset_info"] = info
    lines = "".join(f"{line}\n" for line in _yaml(described, ""))
    names = "".join(f"- `{config.name}`: split `{config.split}`\n" for config in configs)
    return f"---\n{lines}---\n\n# {title}\n\n{names}\nUploaded with asyncdl.\n"


def _yaml(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, inner in value.items():
        if not isinstance(inner, dict | list):
            yield f"{indent}{key}: {json.dumps(inner, ensure_ascii=False)}"
            continue
        yield f"{indent}{key}:"
        if isinstance(inner, dict):
            yield from _yaml(inner, f"{indent}  ")
            continue
        for item in inner:
            first, *others = _yaml(item, f"{indent}  ")
            yield f"{indent}- {first.removeprefix(indent + '  ')}"
            yield from others
