"""A finished job -> the jobs it makes possible. Pure; the store inserts them in the transaction that settles."""

from __future__ import annotations

from asyncdl.core.model import Job, Kind, NewJob
from workers.formats import format_of

USUAL_TEXT_FIELD = "text"
"""The column that is tokenized where the catalogue names none: what most text datasets on the Hub call it. It is not
demanded of a file that is only verified: a guess must not send a good file away."""


def is_text_file(path: str) -> bool:
    """Whether a file of this name can hold documents: what is verified in full and can be tokenized."""
    return format_of(path) is not None


def next_jobs(job: Job, digest: str | None = None) -> tuple[NewJob, ...]:
    """Return what `job`, just completed, makes possible.

    Files of no format we know end with their download: size and digest are all there is to check. A verified file is
    tokenized once with each recipe of its dataset, in as many parts as verify found. digest: what `job` found its
    content to hash to, where nobody else says; what was made of the same content is then not made again.
    """
    match job.kind:
        case "download" if is_text_file(job.path):
            return (_child(job, "verify", 0),)
        case "verify":
            return (_child(job, "tokenize", None, digest),)
        case _:
            return ()


def _child(job: Job, kind: Kind, recipe_id: int | None, digest: str | None = None) -> NewJob:
    return NewJob(
        dataset_id=job.dataset_id,
        kind=kind,
        path=job.path,
        recipe_id=recipe_id,
        size_bytes=job.size_bytes,
        digest=digest or (str(job.digest) if job.digest else None),
        keep=digest is not None,
    )
