"""What the bytes of a served file are: on disk, in memory, or made on demand.

Any range can be read as a stream of blocks of at most BLOCK_BYTES; no file is ever held whole. Digests are
computed on first use and kept. Knows nothing of repositories or HTTP.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Generator
from functools import cache, cached_property
from pathlib import Path

BLOCK_BYTES = 512 * 1024  # guess: large enough that the calls per block do not show
Blocks = Generator[bytes | memoryview, None, None]


class Content:
    """Bytes of a fixed size, read by range. `blocks` and `size_bytes` are what a kind of content defines."""

    size_bytes: int

    def blocks(self, start: int, end: int) -> Blocks:
        """The bytes of [start, end), in order, in blocks of at most BLOCK_BYTES; 0 <= start <= end."""
        raise NotImplementedError

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks(0, self.size_bytes):
            digest.update(block)
        return digest.hexdigest()

    @cached_property
    def git_sha1(self) -> str:
        """The id git gives these bytes as a blob."""
        digest = hashlib.sha1(b"blob %d\0" % self.size_bytes, usedforsecurity=False)
        for block in self.blocks(0, self.size_bytes):
            digest.update(block)
        return digest.hexdigest()

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.blocks(start, self.size_bytes if end is None else end))


class InlineFile(Content):
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)

    def blocks(self, start: int, end: int) -> Blocks:
        view = memoryview(self.data)
        for at in range(start, end, BLOCK_BYTES):
            yield view[at : min(at + BLOCK_BYTES, end)]


class DiskFile(Content):
    """A file on disk, which must not change while it is served."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size

    def blocks(self, start: int, end: int) -> Blocks:
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while start < end:
                block = file.read(min(BLOCK_BYTES, end - start))
                if not block:
                    raise EOFError(f"{self.path} became shorter while it was served")
                start += len(block)
                yield block


class GeneratedFile(Content):
    """`size_bytes` reproducible bytes that lie nowhere: the same (size_bytes, seed) gives the same bytes.

    The bytes are one random block repeated with a prime period, entered at a place the seed decides. The
    period shares no factor with any power of two, so a segment written at a wrong offset changes the digest.
    Making them is a slice of memory shared by all files: above 1 GB/s, no allocation, no file too big.
    """

    def __init__(self, size_bytes: int, seed: int = 0) -> None:
        self.size_bytes = size_bytes
        self.seed = seed

    def __repr__(self) -> str:
        return f"GeneratedFile(size_bytes={self.size_bytes}, seed={self.seed})"

    def blocks(self, start: int, end: int) -> Blocks:
        source = _random_bytes()
        entry = self.seed * _SEED_STRIDE
        while start < end:
            at = (start + entry) % _PERIOD_BYTES
            n_bytes = min(BLOCK_BYTES, end - start)
            start += n_bytes
            yield source[at : at + n_bytes]


_PERIOD_BYTES = 1_048_583  # the smallest prime above 1 MiB
_SEED_STRIDE = 611_953  # prime: neighbouring seeds enter the block far from each other


@cache
def _random_bytes() -> memoryview:
    period = random.Random(_PERIOD_BYTES).randbytes(_PERIOD_BYTES)
    return memoryview(period + period[:BLOCK_BYTES])
