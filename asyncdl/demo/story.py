"""What `asyncdl demo` tells: which languages, on what a bad network, and what came out in the end.

The texts and the rules only; the verbs are called by `cli.demo`. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from asyncdl.demo.faults import Fault

DATASET = "fineweb-2"
LANGUAGES = ("swe_Latn", "deu_Latn", "dan_Latn")
TOKENIZER = "demo/tokenizer"
MAX_SEQ_LENGTH = 512

FAULTS = (
    Fault("status", origin="hub", path="*/tree/*", times=1, status=503),
    Fault("status", origin="hub", path="*.parquet", skip=2, times=1, status=429, retry_after="1"),
    Fault("expired_url", origin="hub", path="*.parquet", skip=4, times=1),
    Fault("flipped", origin="cdn", skip=1, times=1, after_bytes=2000),
    Fault("drop", origin="cdn", skip=2, every=3, times=3, after_bytes=1500),
    Fault("status", origin="cdn", skip=3, every=4, times=2, status=503),
    Fault("early_end", origin="cdn", skip=4, times=1, after_bytes=1000),
    Fault("slow", origin="cdn", skip=5, every=2, times=2, bytes_per_s=4000.0),
)
"""Each is met by some request of the nine train and three test files; none is the last word on any of them."""

MEANINGS = {
    "status": "requests refused with 429 or 503",
    "expired_url": "signed URLs that had expired",
    "flipped": "bodies with a flipped bit",
    "drop": "connections reset in the middle of a file",
    "early_end": "bodies that ended early",
    "slow": "connections at the speed of a modem",
}

SHOWN_CHARACTERS = 300


def faults_told(served: Mapping[str, int]) -> list[str]:
    """Return one line per kind of fault that struck. served: {kind: count}."""
    return [f"{served[kind]} x {meaning}" for kind, meaning in MEANINGS.items() if served.get(kind)]


def first_sequence(tokenized: Path, tokenizer_json: Path) -> tuple[str, str]:
    """Return (shard, text): where the first sequence lies, relative to `tokenized`, and the beginning of its text."""
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer

    manifest = json.loads((tokenized / "manifest.json").read_bytes())
    split = next(entry for entry in manifest["splits"].values() if entry["sequences"])
    shard = tokenized / split["path"] / split["shard_files"][0]["name"]
    row = pq.ParquetFile(shard).read_row_group(0, columns=["input_ids"]).column("input_ids")[0].as_py()
    text = Tokenizer.from_file(str(tokenizer_json)).decode(row)
    return str(shard.relative_to(tokenized)), " ".join(text.split())[:SHOWN_CHARACTERS]
