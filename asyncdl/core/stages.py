"""A finished job -> the jobs it makes possible. Pure; the store inserts them in the transaction that settles."""

from __future__ import annotations

from asyncdl.core.model import Job, Kind, NewJob

MAX_SHARD_TOKENS = 500_000_000
"""2 GB of input_ids at 4 bytes each, the seed's measure of a shard; packed with zstd-1 the file is ~1.6 GB."""


USUAL_TEXT_FIELD = "text"
"""The column that is tokenized where the catalogue names none: what most text datasets on the Hub call it. It is not
demanded of a file that is only verified: a guess must not send a good file away."""


def is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def next_jobs(job: Job) -> tuple[NewJob, ...]:
    """Return what `job`, just completed, makes possible.

    Files other than Parquet end with their download: size and digest are all there is to check. A verified file is
    tokenized once with each recipe of its dataset.
    """
    match job.kind:
        case "download" if is_parquet(job.path):
            return (_child(job, "verify", 0),)
        case "verify":
            return (_child(job, "tokenize", None),)
        case _:
            return ()


def _child(job: Job, kind: Kind, recipe_id: int | None) -> NewJob:
    return NewJob(
        dataset_id=job.dataset_id,
        kind=kind,
        path=job.path,
        recipe_id=recipe_id,
        size_bytes=job.size_bytes,
        digest=str(job.digest) if job.digest else None,
    )
