"""The words that cross the process boundary: a Task goes to a child, an Outcome comes back.

Frozen values of str, int, float and tuples of them; paths and small numbers, never text, arrays,
handles or settings. Standard library only, so that the engine can import it at no cost. Expected
failure is a value (`Rejected`); an exception out of a child is a bug in ours or in a native library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LabelsConvention = Literal["shifted", "hf"]
"""`shifted`: labels[i] is input_ids[i + 1]; -100 at the last place, on padding and before padding.
`hf`: labels[i] is input_ids[i]; -100 on padding. For trainers that shift by themselves, as `transformers` does."""

Packing = Literal["concat", "best-fit"]
"""`concat`: the stream of documents is cut every max_seq_length ids. `best-fit`: whole documents share a
sequence with those that fill it best; only documents longer than a sequence are cut."""

Backend = Literal["auto", "tokenizers"]
"""`auto`: fastokens where it can load the vocabulary and gives the same ids on the probe; else tokenizers."""

Check = Literal["size", "digest", "magic", "footer", "structure", "columns", "decode"]
"""One thing that was really checked of a file. `decode`: every column read and validated (UTF-8 too)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTask:
    """Check one finished Parquet file without changing it.

    path: absolute. size_bytes: what the source announced, or None. required_columns: top-level names that
    must exist. decode: read every page (for files that no digest vouches for).
    """

    path: str
    size_bytes: int | None
    required_columns: tuple[str, ...]
    decode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """checks: in the order they were made. Rows and row groups are what the footer says."""

    checks: tuple[Check, ...]
    n_rows: int
    n_row_groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectTokenizerTask:
    """Load a tokenizer as the tokenize task would, before anything is downloaded for it.

    path: absolute, a `tokenizer.json` or a folder that holds one.
    """

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerInfo:
    """path: the absolute tokenizer.json. sha256: of its bytes. eos_token/eos_id: what ends a document.

    bos_token/bos_id: what begins one, or None where nothing names such a token.
    """

    path: str
    sha256: str
    vocab_size: int
    eos_token: str
    eos_id: int
    bos_token: str | None = None
    bos_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeTask:
    """Turn the text column of one Parquet file into shards of packed sequences.

    source_path, output_dir: absolute. source_id: `dataset@revision/path`, written into the shards' metadata.
    shard_stem: shards are `<shard_stem>-0000.parquet`, `-0001` ...; it begins with `shard_`.
    job_id, attempt: name the partials, so that no stale attempt, nor a job of another revision, can touch this one's.
    max_shard_tokens: sequences of one shard x max_seq_length never exceed it.
    bos_id: put before every document, or None. add_eos: put eos_id after every document; padding is eos_id anyway.
    drop_last: leave out the last sequence if it is not full (of `best-fit`: the emptiest of those held to the end).
    seq_lengths: write a fourth column of that name, how many ids each document has in a sequence.
    """

    source_path: str
    source_id: str
    text_column: str
    tokenizer_path: str
    tokenizer_sha256: str
    eos_id: int
    max_seq_length: int
    labels: LabelsConvention
    max_shard_tokens: int
    output_dir: str
    shard_stem: str
    job_id: int
    attempt: int
    backend: Backend = "auto"
    packing: Packing = "concat"
    bos_id: int | None = None
    add_eos: bool = True
    drop_last: bool = False
    seq_lengths: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One published Parquet output file; name is relative to the task's output_dir."""

    name: str
    n_sequences: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """What became of every token: n_sequences x max_seq_length == n_tokens + n_padding, n_dropped apart.

    n_tokens counts BOS and EOS. n_documents counts non-null texts, empty ones included; n_split those of them
    that were too large to be encoded in one go. backend: library and version that made the ids; backend_note:
    why it is not the fast one, empty where it is or was not to be. histogram: [k] counts the documents of
    [2^(k-1), 2^k) ids, BOS and EOS included, [0] those of none.
    """

    shards: tuple[Shard, ...]
    n_documents: int
    n_tokens: int
    n_padding: int
    n_dropped: int
    text_bytes: int
    backend: str
    n_split: int = 0
    backend_note: str = ""
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The file, not the machine, is at fault. error_class is one of REJECTIONS; message is for people."""

    error_class: str
    message: str


REJECTIONS: dict[str, str] = {
    "missing_file": "the file to read is not there any more",
    "wrong_size": "the size differs from what the source announced",
    "empty_file": "the file has no bytes, or a Parquet file has no rows",
    "html_instead": "an HTML page was delivered in place of the data",
    "not_parquet": "no Parquet magic at both ends",
    "bad_footer": "the Parquet footer cannot be read",
    "bad_structure": "column chunks overlap, leave the file, or claim absurd sizes",
    "missing_column": "a required column is not in the schema",
    "bad_pages": "a page cannot be decoded or holds invalid UTF-8",
    "not_text": "the text column holds something other than strings",
    "bad_tokenizer": "the tokenizer cannot be loaded or has changed since it was chosen",
    "no_eos": "the tokenizer names no end-of-text token",
    "no_room": "the disk is full (bytes, inodes or quota)",
}
"""error_class -> what it means. The engine waits and tries again on `no_room`; the others are final."""

Task = VerifyTask | InspectTokenizerTask | TokenizeTask
Outcome = Verified | TokenizerInfo | Tokenized | Rejected
