"""Loads a tokenizer.json and turns texts into token ids, with the fastest library that is right.

Ids equal `tokenizers`' own `encode(text, add_special_tokens=False).ids`: truncation and padding that a
tokenizer.json may ask for are switched off, nothing is added, and special tokens written out in a text become
their ids. fastokens is taken only after it gave the same ids on the probe. Knows nothing of packing or files
of text.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from workers.contract import Backend, InspectTokenizerTask, TokenizerInfo
from workers.end_of_text import find_bos, find_eos
from workers.probe import probe_texts
from workers.refused import Refused

_CACHED = 2  # guess: a run rarely has more vocabularies, and one may hold 300 MB
MAX_TEXT_BYTES = 64 << 20  # the limit that was asked for; fastokens holds 7 bytes for each byte of a text (measured)
_MOST_SPANS = 8  # guess: beyond, one search costs less than so many comparisons
_REFERENCE_TEXT_BYTES = 2 << 20  # tokenizers holds 250 bytes for each byte of a text (0.23.3, measured)

Spans = tuple[tuple[int, int], ...]
"""Ranges of ids, both ends included."""

Ids = tuple[NDArray[np.int32], NDArray[np.int64]]
"""The ids of all texts one after another, and offsets: text i is flat[offsets[i]:offsets[i + 1]]."""


class FastFailedError(Exception):
    """fastokens cannot be used here; says why. Never leaves a task: `tokenizers` has the last word."""


@dataclass(frozen=True, slots=True)
class Reference:
    """backend: the library and its version, for the record of what made the ids. note: why not the fast one.

    max_text_bytes: longer texts do not fit into a worker's memory. special: the ids of special tokens.
    """

    tokenizer: tokenizers.Tokenizer
    note: str = ""
    max_text_bytes: int = _REFERENCE_TEXT_BYTES
    backend: str = f"tokenizers {tokenizers.__version__}"
    special: Spans = ()

    def encode(self, texts: list[str]) -> Ids:
        """The library hands ids out as a list of Python ints per text; each dies as soon as it is copied.

        Raises Refused: bad_tokenizer.
        """
        try:
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:
            if type(error) is not Exception:  # the library raises the bare class for its own failures
                raise
            raise Refused("bad_tokenizer", f"the tokenizer failed on a text: {error}") from error
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encodings), np.int64, len(texts)), out=offsets[1:])
        flat = np.empty(offsets[-1], np.int32)
        for i, encoding in enumerate(encodings):
            flat[offsets[i] : offsets[i + 1]] = encoding.ids
        return flat, offsets


@dataclass(frozen=True, slots=True)
class Fast:
    """fastokens behind the same words as `Reference`."""

    tokenizer: Any
    backend: str
    note: str = ""
    max_text_bytes: int = MAX_TEXT_BYTES
    special: Spans = ()

    def encode(self, texts: list[str]) -> Ids:
        """Raises FastFailedError."""
        try:
            flat, offsets = self.tokenizer.encode_batch_flat(texts)
        except BaseException as error:
            if _is_native(error):
                raise FastFailedError(f"fastokens failed on a text: {error}") from error
            raise
        return np.frombuffer(flat, "<i4"), np.frombuffer(offsets, "<i8")


Encoder = Fast | Reference


def run(task: InspectTokenizerTask) -> TokenizerInfo:
    """Raises Refused: bad_tokenizer, no_eos."""
    path = Path(task.path)
    if path.is_dir():
        path /= "tokenizer.json"
    content = _read(path)
    tokenizer = _parse(content, path)
    eos_token, eos_id = find_eos(path.parent, tokenizer)
    bos_token, bos_id = find_bos(path.parent, tokenizer) or (None, None)
    return TokenizerInfo(
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        vocab_size=1 + max(tokenizer.get_vocab(with_added_tokens=True).values()),
        eos_token=eos_token,
        eos_id=eos_id,
        bos_token=bos_token,
        bos_id=bos_id,
    )


@lru_cache(_CACHED)
def load(path: str, sha256: str, backend: Backend) -> Encoder:
    """The tokenizer at path, kept for the life of the process. Raises Refused: bad_tokenizer.

    The reference is let go of before the fast one is built: together they would hold half a gigabyte.
    """
    content = _read(Path(path))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Refused("bad_tokenizer", f"{path} has changed since it was chosen")
    if backend == "tokenizers":
        return _reference(content, path)
    probe, expected, special = _expected(content, path)
    _give_back_memory()
    try:
        fast = _fast(content, special)
        _give_back_memory()
        return _checked(fast, probe, expected)
    except FastFailedError as error:
        return _reference(content, path, note=str(error))


def _reference(content: bytes, path: str, note: str = "") -> Reference:
    tokenizer = _parse(content, Path(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Reference(tokenizer, note, special=_special(tokenizer))


def _special(tokenizer: tokenizers.Tokenizer) -> Spans:
    """In as few spans as there are gaps between them: mostly one, at the end of a vocabulary."""
    added = tokenizer.get_added_tokens_decoder()
    spans: list[tuple[int, int]] = []
    for token_id in sorted(token_id for token_id, token in added.items() if token.special):
        first = spans.pop()[0] if spans and spans[-1][1] == token_id - 1 else token_id
        spans.append((first, token_id))
    return tuple(spans)


def count_special(flat: NDArray[np.int32], spans: Spans) -> int:
    """How many of the ids are special. One span costs a thousandth of what making the ids did."""
    if not spans:
        return 0
    if len(spans) > _MOST_SPANS:
        return int(np.isin(flat, [i for first, last in spans for i in range(first, last + 1)]).sum())
    return sum(int(np.count_nonzero((flat >= first) & (flat <= last))) for first, last in spans)


def _fast(content: bytes, special: Spans) -> Fast:
    """Raises FastFailedError."""
    try:
        import fastokens
    except ImportError as error:
        raise FastFailedError("fastokens is not installed") from error
    try:
        tokenizer = fastokens.Tokenizer.from_json_str(content.decode())
    except BaseException as error:
        if _is_native(error):
            raise FastFailedError(f"fastokens cannot load it: {error}") from error
        raise
    tokenizer.no_truncation()
    return Fast(tokenizer, f"fastokens {version('fastokens')}", special=special)


def _expected(content: bytes, path: str) -> tuple[list[str], Ids | None, Spans]:
    """The probe and its ids; None where even the reference fails on it, and nothing can be compared.

    And the special ids, which only the reference tells.
    """
    reference = _reference(content, path)
    probe = probe_texts([token.content for token in reference.tokenizer.get_added_tokens_decoder().values()])
    try:
        return probe, reference.encode(probe), reference.special
    except Refused:
        return probe, None, reference.special


def _checked(fast: Fast, probe: list[str], expected: Ids | None) -> Fast:
    """Raises FastFailedError where an id differs, and with the first text that does."""
    if expected is None:
        raise FastFailedError("the probe cannot be encoded with tokenizers, so ids cannot be compared")
    flat, offsets = fast.encode(probe)
    for i, text in enumerate(probe):
        theirs = expected[0][expected[1][i] : expected[1][i + 1]]
        if not np.array_equal(flat[offsets[i] : offsets[i + 1]], theirs):
            raise FastFailedError(f"{fast.backend} gives other ids for {text[:40]!a}")
    return fast


def release_beyond(rss_bytes: int) -> None:
    """Let the loaded tokenizers go if this process holds more: their caches grow with every new word."""
    if _rss_bytes() > rss_bytes:
        load.cache_clear()
        _give_back_memory()


def _rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell it this way."""
    try:
        n_pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except FileNotFoundError:
        return 0
    return int(n_pages) * os.sysconf("SC_PAGE_SIZE")


def _give_back_memory() -> None:
    """To the system: glibc would keep what loading has freed, 200 MB with the vocabulary of Llama 3 (measured)."""
    with suppress(AttributeError):  # of another C library
        ctypes.CDLL(None).malloc_trim(0)


def _is_native(error: BaseException) -> bool:
    """A failure that fastokens reports (ValueError, RuntimeError) or dies of (a Rust panic, which is no Exception)."""
    return isinstance(error, (ValueError, RuntimeError)) or type(error).__name__ == "PanicException"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Refused("bad_tokenizer", f"{path} is not there") from error


def _parse(content: bytes, path: Path) -> tokenizers.Tokenizer:
    """From the very bytes that were hashed, so that a file replaced in between cannot slip in."""
    try:
        return tokenizers.Tokenizer.from_buffer(content)
    except ValueError as error:
        raise Refused("bad_tokenizer", f"{path}: {error}") from error
