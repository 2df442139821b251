"""A prefix, a glob or one object of a bucket becomes artifacts, as the bucket is at this moment.

Knows nothing of what is in them. An ETag is both what each answer must have (the validator) and, in the form of an
md5, what the bytes must hash to.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import product

from asyncdl.core.model import Artifact, Digest, Resolved
from asyncdl.core.names import display, folder_name, folder_of, safe_path
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import UsageError
from asyncdl.net.fetch import Fetcher
from asyncdl.sources.paths import exact_path
from asyncdl.sources.s3_listing import Bucket, find_bucket
from asyncdl.sources.s3_page import Found, Page
from asyncdl.sources.selection import Budget, Selection
from asyncdl.sources.targets import BucketTarget

_MAGIC = re.compile(r"[*?\[]")
_MAX_STARS = 8  # guess: each `**/` doubles the globs


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a bucket is meant. prefix: what is listed. globs: one must match the key; empty for all.

    alone: the one object that is meant, found already.
    """

    prefix: str
    globs: tuple[re.Pattern[str], ...] = ()
    alone: Found | None = None

    def takes(self, key: str) -> bool:
        return not self.globs or any(glob.match(key) for glob in self.globs)


async def resolve_bucket(place: BucketTarget, selection: Selection, fetcher: Fetcher) -> Resolved:
    """Return what the bucket has there. `key` is the object of that name if there is one, else the folder.

    The dataset's name is `scheme://bucket`. Raises what `s3_listing` and `core.names` raise; the stream too, and
    UsageError where nothing is there or nothing fits the selection.
    """
    bucket = await find_bucket(fetcher, place.scheme, place.bucket, prefix_of(place.key))
    notes: list[str] = []
    scope = await _scope(bucket, place.key, notes)
    return Resolved(
        name=f"{place.scheme}://{place.bucket}",
        revision="",
        source="s3",
        origin=bucket.origin,
        local_root=safe_path(f"raw/{folder_name(place.bucket)}"),
        text_field="",
        artifacts=_artifacts(bucket, scope, selection, notes),
        notes=notes,
    )


def prefix_of(key: str) -> str:
    """Return what comes before the first sign of a glob."""
    match = _MAGIC.search(key)
    return key[: match.start()] if match else key


async def _scope(bucket: Bucket, key: str, notes: list[str]) -> Scope:
    if _MAGIC.search(key):
        return Scope(prefix_of(key), globs_of(key))
    if not key or key.endswith("/"):
        return Scope(key)
    page = await bucket.page(key, delimiter="/")
    alone = next((found for found in page.objects if found.key == key), None)
    if alone is None:
        return Scope(f"{key}/")
    if f"{key}/" in page.folders:
        notes.append(f"{display(key)} is an object here; there is a folder {display(key)}/ too, which was not taken")
    return Scope(key, alone=alone)


def globs_of(pattern: str) -> tuple[re.Pattern[str], ...]:
    """Return what matches the whole key: the pattern, or what is in a folder of that name.

    As for the Hub's targets, a star crosses slashes; `**/` may also be no folder at all.
    """
    parts = pattern.split("**/")
    if len(parts) > _MAX_STARS:
        raise UsageError(f"the target has more than {_MAX_STARS - 1} times **/ in it")
    joins = product(("**/", ""), repeat=len(parts) - 1)
    whole = {"".join(a + b for a, b in zip(parts, (*join, ""), strict=True)) for join in joins}
    return tuple(re.compile(fnmatch.translate(glob)) for one in sorted(whole) for glob in (one, f"{one.rstrip('/')}/*"))


async def _artifacts(
    bucket: Bucket, scope: Scope, selection: Selection, notes: list[str]
) -> AsyncGenerator[Artifact, None]:
    budget, n_folders = Budget(selection), 0
    try:
        async with aclosing(_pages(bucket, scope)) as pages:
            async for page in pages:
                for found in page.objects:
                    if not (scope.takes(found.key) and selection.wants(found.key)):
                        continue
                    if found.key.endswith("/") and not found.size_bytes:
                        n_folders += 1
                        continue
                    if not budget.takes(found.key, found.size_bytes):
                        return
                    yield _artifact(found)
                    if budget.is_spent:
                        return
        if not budget.n_files:
            raise await _nothing(bucket, scope, selection)
    finally:
        if n_folders:
            notes.append(f"{n_folders} empty object{'s' * (n_folders > 1)} whose name ends in / stood for folders")


async def _pages(bucket: Bucket, scope: Scope) -> AsyncGenerator[Page, None]:
    if scope.alone is not None:
        yield Page([scope.alone], [], None)
        return
    async with aclosing(bucket.pages(scope.prefix)) as pages:
        async for page in pages:
            yield page


def _artifact(found: Found) -> Artifact:
    md5 = found.md5
    digest = None if md5 is None else Digest("md5", md5)
    is_strong = found.etag and not found.etag.startswith("W/")
    return Artifact(exact_path(found.key), found.size_bytes, digest, found.etag if is_strong else None)


async def _nothing(bucket: Bucket, scope: Scope, selection: Selection) -> UsageError:
    """Return the error for a listing of which nothing was taken, with names of the folder above that are alike."""
    where = f"{bucket.scheme}://{bucket.name}/{display(scope.prefix)}"
    if selection.include or selection.exclude:
        return UsageError(
            f"no object of {where} was chosen",
            hint="look at --include and --exclude: a * also crosses slashes, case counts",
        )
    path = scope.prefix.rstrip("/")
    above = folder_of(path)
    beside = await bucket.page(f"{above}/" if above else "", delimiter="/")
    return UsageError(f"there is nothing at {where}", hint=did_you_mean(near(path, _names(beside))))


def _names(page: Page) -> Sequence[str]:
    return [folder.rstrip("/") for folder in page.folders] + [found.key for found in page.objects]
