"""The values that travel between rooms. Frozen; no behaviour beyond reading themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from asyncdl.core.names import SafePath
from asyncdl.core.recipes import USUAL, Options

Kind = Literal["download", "verify", "tokenize", "episode", "build", "upload"]
SourceName = Literal["hub", "url", "s3", "local"]
DigestName = Literal["sha256", "git-sha1", "md5"]


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file's content must hash to.

    git-sha1: of "blob", a blank, the size in decimal, a zero byte and the content, as git names a blob.
    """

    name: DigestName
    hex: str

    def __str__(self) -> str:
        return f"{self.name}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read what `str` wrote; raises ValueError on anything else."""
        name, _, hex_ = text.partition(":")
        if name == "sha256" and len(hex_) == 64:
            return cls("sha256", hex_)
        if name == "git-sha1" and len(hex_) == 40:
            return cls("git-sha1", hex_)
        if name == "md5" and len(hex_) == 32:
            return cls("md5", hex_)
        raise ValueError(f"not a digest: {text!r}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """What becomes one local file. size_bytes and digest are None where the source does not say.

    validator: the ETag that a listing names and every answer must have; None where there is no listing of them.
    """

    path: SafePath
    size_bytes: int | None
    digest: Digest | None
    validator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One subset of one dataset at one revision, as the queue holds it.

    id: row id, 0 before it is stored. name: `HuggingFaceFW/fineweb-2`, or a host for URLs. revision: a commit
    sha, or '' for URLs. origin: what the artifacts' URLs are built from (`core.names` quoted path is appended);
    it never holds a secret; of a local dataset it is the folder, absolute, and nothing is copied from it. local_root:
    folder below the data dir. text_field: the column verify demands and tokenize reads, '' where none is known.
    """

    id: int = 0
    name: str
    revision: str
    subset: str
    source: SourceName
    origin: str
    local_root: SafePath
    text_field: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a name became: shared facts and a stream of artifacts in path order, read once.

    origin: see Dataset. notes: what the user should know (partial conversion, corrected id), never swallowed;
    complete when the artifacts have ended.
    """

    name: str
    revision: str
    source: SourceName
    origin: str
    local_root: SafePath
    text_field: str
    artifacts: AsyncIterator[Artifact]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How documents become shards. name: `<tokenizer>-<length>`, the folder below tokenized/.

    output_dir: absolute, '' for that folder. vocab_size: None where an older asyncdl did not ask.
    """

    id: int = 0
    name: str
    tokenizer: str
    tokenizer_path: str
    tokenizer_sha256: str
    eos_id: int
    max_seq_length: int
    options: Options = USUAL
    output_dir: str = ""
    vocab_size: int | None = None

    def makes_the_same_as(self, other: Recipe) -> bool:
        """Whether both make the same shards of the same documents, at the same place."""
        return self._what_counts == other._what_counts

    @property
    def _what_counts(self) -> tuple[object, ...]:
        """All that the shards depend on; how many bad lines are allowed only says when a file is refused."""
        options = replace(self.options, max_bad_share=USUAL.max_bad_share)
        return self.tokenizer_sha256, self.eos_id, self.max_seq_length, options, self.output_dir


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be stored. recipe_id: 0 except for tokenize; None for one job with each recipe tied to the dataset.

    keep: a job that is completed with the same digest already stays so. leaves_group: the file is no more packed with
    others.
    """

    dataset_id: int
    kind: Kind
    path: SafePath
    recipe_id: int | None = 0
    size_bytes: int | None = None
    digest: str | None = None
    keep: bool = False
    leaves_group: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A claimed row. (id, owner, attempt) is the lease: what every later statement must match.

    attempt: 1-based, grows with each claim, never falls. failures: attempts in a row that brought no new byte.
    had: durable ranges, `core.ranges` text form. validator: what the bytes had belong to. take_over: the partial
    may still be open in an engine that lost its lease. n_mismatches: how often the digest was wrong. part: of a large
    file, which of the parts that verify found is to be tokenized.
    """

    id: int
    kind: Kind
    dataset_id: int
    recipe_id: int
    path: SafePath
    owner: str
    attempt: int
    failures: int
    size_bytes: int | None
    digest: Digest | None
    had: str
    validator: str | None
    take_over: bool
    n_mismatches: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an engine has to do with one host just now.

    n_open, n_allowed: requests. per_s: body bytes. first_byte_s: from a request to its answer, smoothed; None before
    the first. n_refused: answers 429 and 503 so far.
    """

    host: str
    n_open: int
    n_allowed: int
    per_s: float
    first_byte_s: float | None
    n_refused: int
