"""Whether a download's bytes are those that were promised, and how it is settled either way."""

from __future__ import annotations

from asyncdl.core.model import Job
from asyncdl.disk.digester import Digester
from asyncdl.engine.attempts import Done
from asyncdl.errors import TransferError


def is_right(job: Job, found: Digester) -> bool:
    """Whether the bytes are those that were promised; without a promise any are."""
    return job.digest is None or found.hexdigest() == job.digest.hex


def mismatch(job: Job, found: Digester) -> TransferError:
    """Return the error of a file whose bytes are not those that were promised."""
    assert job.digest is not None
    wrong = f"{job.digest.name} is {found.hexdigest()}, not {job.digest.hex}"
    return TransferError("digest_mismatch", f"{job.path}: {wrong}")


def done(job: Job, size_bytes: int, found: Digester, *, adopted: bool = False) -> Done:
    """Return how a download is settled whose bytes are in place."""
    checks = ["size"] * (job.size_bytes is not None) + ["digest"] * (job.digest is not None)
    return Done(size_bytes, {"checks": checks, "sha256": found.sha256(), "adopted": adopted})
