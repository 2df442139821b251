"""The digests of one file's bytes, fed in order: the one its source promises, and the sha256 that every file gets."""

from __future__ import annotations

import hashlib

from asyncdl.core.model import Digest


class Digester:
    """wanted: what the source promises, or None. size_bytes: of the whole file; git hashes it first."""

    def __init__(self, wanted: Digest | None, size_bytes: int) -> None:
        self._sha256 = hashlib.sha256()
        self._other = None
        if wanted is not None and wanted.name == "git-sha1":
            self._other = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
        elif wanted is not None and wanted.name == "md5":
            self._other = hashlib.md5(usedforsecurity=False)

    def update(self, block: bytes | memoryview) -> None:
        self._sha256.update(block)
        if self._other is not None:
            self._other.update(block)

    def hexdigest(self) -> str:
        """Return the digest of the kind that was wanted; sha256 where none was."""
        return self.sha256() if self._other is None else self._other.hexdigest()

    def sha256(self) -> str:
        return self._sha256.hexdigest()
