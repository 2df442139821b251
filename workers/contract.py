"""The words that cross the process boundary: a Task goes to a child, an Outcome comes back.

Frozen values of str, int, float and tuples of them; paths and small numbers, never text, arrays,
handles or settings. Standard library only, so that the engine can import it at no cost. Expected
failure is a value (`Rejected`); an exception out of a child is a bug in ours or in a native library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

LabelsConvention = Literal["shifted", "hf"]
"""`shifted`: labels[i] is input_ids[i + 1]; -100 at the last place, on padding and before padding.
`hf`: labels[i] is input_ids[i]; -100 on padding. For trainers that shift by themselves, as `transformers` does."""

Packing = Literal["concat", "best-fit"]
"""`concat`: the stream of documents is cut every max_seq_length ids. `best-fit`: whole documents share a
sequence with those that fill it best; only documents longer than a sequence are cut."""

Backend = Literal["auto", "tokenizers"]
"""`auto`: fastokens where it can load the vocabulary and gives the same ids on the probe; else tokenizers."""

Compression = Literal["zstd", "snappy"]

Check = Literal["size", "digest", "magic", "footer", "structure", "columns", "decode"]
"""One thing that was really checked of a file. `decode`: every column read and validated (UTF-8 too). Of JSON lines,
`structure` and `columns` are looked at in the first lines, and `decode` is the whole compressed stream."""

Part = tuple[int, int]
"""What one tokenize task takes of a file, half-open: row groups of Parquet; bytes of plain JSON lines, of which a part
has the lines that begin in it: at its first byte where that is the file's, or follows a newline."""


PART_BYTES = 128_000_000
"""Of text. Some seconds of work: starting a task costs nothing beside it, a crash costs little, and the padding at the
end of a part does not show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTask:
    """Check one finished file without changing it: Parquet, or JSON lines, as its name says.

    path: absolute. size_bytes: what the source announced, or None. required_columns: top-level names that
    must exist. decode: read every page, or the whole compressed stream (for files that no digest vouches for).
    text_column: what the parts to be tokenized are measured by; '' where nobody knows. hash: also tell the sha256.
    part_bytes: of text, what each part should have.
    """

    path: str
    size_bytes: int | None
    required_columns: tuple[str, ...]
    decode: bool
    text_column: str = ""
    hash: bool = False
    part_bytes: int = PART_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """checks: in the order they were made. Rows and row groups are what the footer says, 0 for JSON lines.

    parts: what the file is tokenized in, one task each, in order and without gaps; () is the whole file at once.
    sha256: '' unless it was asked for.
    """

    checks: tuple[Check, ...]
    n_rows: int
    n_row_groups: int
    parts: tuple[Part, ...] = ()
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyTask:
    """Look at small files that are to be packed together: what they hash to."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """sha256: of each file, in order; '' for one that is not there any more."""

    sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectTokenizerTask:
    """Load a tokenizer as the tokenize task would, before anything is downloaded for it.

    path: absolute, a `tokenizer.json` or a folder that holds one.
    """

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerInfo:
    """path: the absolute tokenizer.json. sha256: of its bytes. eos_token/eos_id: what ends a document.

    bos_token/bos_id: what begins one, or None where nothing names such a token. vocab_size: every id is below it; there
    may be gaps.
    """

    path: str
    sha256: str
    vocab_size: int
    eos_token: str
    eos_id: int
    bos_token: str | None = None
    bos_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of documents, or a part of one. What kind of file it is says its name.

    path: absolute. source_id: `dataset@revision/path`, written into the shards' metadata. part: None for all of it.
    """

    path: str
    source_id: str
    part: Part | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeTask:
    """Turn the documents of some sources, one after the other, into shards of packed sequences.

    text_column: the column, or the field of each JSON object, that holds the text. output_dir: absolute.
    shard_stem: shards are `<shard_stem>-0000.parquet`, `-0001` ...; it begins with `shard_`. Where n_parts tasks share
    a source the one for part k writes `<shard_stem>~p000k-0000.parquet` and so on; what an earlier run in other parts
    left behind is removed by part 0.
    job_id, attempt: name the partials, so that no stale attempt, nor a job of another revision, can touch this one's.
    max_shard_tokens: sequences of one shard x max_seq_length never exceed it.
    bos_id: put before every document, or None. add_eos: put eos_id after every document; padding is eos_id anyway.
    drop_last: leave out the last sequence if it is not full (of `best-fit`: the emptiest of those held to the end).
    seq_lengths: write a fourth column of that name, how many ids each document has in a sequence.
    max_bad_share: of the lines of one JSON source, how many may be bad and skipped; a source with more is refused.
    """

    sources: tuple[Source, ...]
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
    part: int = 0
    n_parts: int = 1
    backend: Backend = "auto"
    packing: Packing = "concat"
    bos_id: int | None = None
    add_eos: bool = True
    drop_last: bool = False
    seq_lengths: bool = False
    compression: Compression = "zstd"
    max_bad_share: float = 0.01

    @property
    def part_stem(self) -> str:
        """What the names of this task's own shards begin with. No stem of a file holds `~p`: see core.names."""
        return self.shard_stem if self.n_parts == 1 else f"{self.shard_stem}~p{self.part:04d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One published Parquet output file; name is relative to the task's output_dir."""

    name: str
    n_sequences: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that was skipped. line: 1-based, counted from the beginning of the part. at: its first byte, in the file.

    (Of a compressed file `at` counts decompressed bytes.) error_class is one of BAD_LINES.
    """

    source_id: str
    line: int
    at: int
    error_class: str
    message: str


BAD_LINES: dict[str, str] = {
    "not_json": "the line is not one JSON value",
    "not_an_object": "the line is JSON, but no object",
    "missing_field": "the object has no such field, or null in it",
    "not_a_string": "the field holds something other than a string",
    "not_utf8": "the line is not UTF-8, or the text holds half of a surrogate pair",
}
"""error_class -> what it means. Blank lines are no lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedSource:
    """One of several sources that could not be read to its end; nothing of it is in the shards."""

    source_id: str
    error_class: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """What became of every token: n_sequences x max_seq_length == n_tokens + n_padding, n_dropped apart.

    n_tokens counts BOS and EOS. n_documents counts non-null texts, empty ones included; n_split those of them
    that were too large to be encoded in one go. backend: library and version that made the ids; backend_note:
    why it is not the fast one, empty where it is or was not to be. histogram: [k] counts the documents of
    [2^(k-1), 2^k) ids, BOS and EOS included, [0] those of none. n_special: special tokens that the texts themselves
    held. n_null: rows of Parquet without a text. n_lines: lines of JSON, bad ones included; n_bad: (class, how
    many) of the bad ones, bad_lines: the first hundred. cpu_s: processor seconds that the task took. refused: of
    several sources, those that were left out.
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
    n_special: int = 0
    n_null: int = 0
    n_lines: int = 0
    n_bad: tuple[tuple[str, int], ...] = ()
    bad_lines: tuple[BadLine, ...] = ()
    cpu_s: float = field(default=0.0, compare=False)  # the same task has the same outcome but for this
    refused: tuple[RefusedSource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckShardTask:
    """Compare one shard with what its manifest says. paths and digests as in `Shard`.

    deep: also decode every page against its CRC, and look at every sequence: its length, ids in [0, vocab_size),
    mask, labels. labels: None for the convention that the shard itself names. n_tokens counts what the mask marks.
    """

    path: str
    size_bytes: int
    sha256: str
    n_sequences: int
    max_seq_length: int
    deep: bool
    vocab_size: int | None = None
    labels: LabelsConvention | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardChecked:
    """The shard is right. n_tokens, n_padding: counted where the check was deep, else 0."""

    n_tokens: int = 0
    n_padding: int = 0


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
    "bad_compression": "the compressed stream is broken or ends early",
    "bad_lines": "more lines than allowed are bad",
    "shard_differs": "a shard is not what its manifest says",
    "no_room": "the disk is full (bytes, inodes or quota)",
}
"""error_class -> what it means. The engine waits and tries again on `no_room`; the others are final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeFileTask:
    """Tell what an upload must know of a Parquet file that no manifest names. path: absolute."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDescribed:
    """features: JSON, the columns as the card of a dataset lists them; '' where it has no words for them."""

    size_bytes: int
    sha256: str
    features: str


Task = VerifyTask | SurveyTask | InspectTokenizerTask | TokenizeTask | CheckShardTask | DescribeFileTask
Outcome = Verified | Surveyed | TokenizerInfo | Tokenized | ShardChecked | FileDescribed | Rejected
