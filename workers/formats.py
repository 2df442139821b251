"""What a file is, by its name: the one place that knows which endings hold documents.

Pure, and standard library only: the engine decides by it what can be tokenized. Knows nothing of contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How documents lie in a file. Only a file that is not compressed can be tokenized in parts."""

    kind: Literal["parquet", "json_lines"]
    compression: Literal["gzip", "zstd"] | None = None


FORMATS: dict[str, Format] = {
    ".parquet": Format(kind="parquet"),
    ".jsonl": Format(kind="json_lines"),
    ".ndjson": Format(kind="json_lines"),
    ".jsonl.gz": Format(kind="json_lines", compression="gzip"),
    ".ndjson.gz": Format(kind="json_lines", compression="gzip"),
    ".json.gz": Format(kind="json_lines", compression="gzip"),
    ".jsonl.zst": Format(kind="json_lines", compression="zstd"),
    ".ndjson.zst": Format(kind="json_lines", compression="zstd"),
    ".json.zst": Format(kind="json_lines", compression="zstd"),
}
"""How a name ends -> what the file is. `.json.gz` is JSON lines because C4 and others name theirs so; a plain `.json`
is more often one document than a line of one."""


def format_of(name: str) -> Format | None:
    """What a file of this name or path is, in whatever case it is written; None: nothing that holds documents."""
    name = name.lower()
    return next((form for ending, form in FORMATS.items() if name.endswith(ending)), None)
