"""A name becomes a Resolved: the one door of this room.

Everything that can be known before the first file is known here; the files themselves stream afterwards.
"""

from __future__ import annotations

from dataclasses import replace

from asyncdl.core.model import Resolved
from asyncdl.core.names import display, folder_name, safe_path
from asyncdl.errors import UsageError
from asyncdl.net.fetch import Fetcher
from asyncdl.sources.catalog import load_catalog
from asyncdl.sources.entries import Entry
from asyncdl.sources.hub import Repo, pin
from asyncdl.sources.listing import Listing
from asyncdl.sources.plan import make_plan
from asyncdl.sources.refusals import Asked
from asyncdl.sources.s3 import resolve_bucket
from asyncdl.sources.selection import Selection
from asyncdl.sources.targets import HubTarget, UrlTarget, parse_target
from asyncdl.sources.urls import resolve_url
from asyncdl.sources.viewer import CONVERT_REVISION, why_not_converted

__all__ = ["Selection", "resolve"]


async def resolve(target: str, selection: Selection, *, fetcher: Fetcher, endpoint: str) -> Resolved:
    """Return what `target` is at this moment. endpoint: the Hub, without a final slash.

    The stream of artifacts raises too: where nothing fits the selection, it says so at its end. Raises UsageError,
    ConfigError, RemoteError and UnsafeNameError as `errors` has them.
    """
    catalog = load_catalog()
    place = parse_target(target, catalog, endpoint)
    if not isinstance(place, HubTarget):
        if selection.langs or selection.configs or selection.splits or selection.revision:
            what = "a URL" if isinstance(place, UrlTarget) else "a bucket"
            raise UsageError(f"--lang, --config, --split and --revision choose from a dataset, not from {what}")
        if isinstance(place, UrlTarget) and (selection.include or selection.exclude):
            raise UsageError("--include and --exclude choose from many files, and a URL is one")
        return (
            resolve_url(place.url) if isinstance(place, UrlTarget) else await resolve_bucket(place, selection, fetcher)
        )
    asked = Asked(endpoint, "datasets", place.repo, _revision(place, selection), catalog.near(place.repo))
    return await _from_hub(place, selection, await pin(fetcher, asked))


def _revision(place: HubTarget, selection: Selection) -> str:
    if place.revision and selection.revision not in (None, place.revision):
        raise UsageError(f"the target says revision {display(place.revision)}, --revision another one")
    return place.revision or selection.revision or "main"


async def _from_hub(place: HubTarget, selection: Selection, repo: Repo) -> Resolved:
    entry = place.entry or Entry(name="", id=place.repo)
    notes = _notes(place, repo)
    if entry.parquet_list:
        repo, note = await _conversion(repo)
        notes.append(note)
    chosen = selection.chosen(entry.language)
    globs = place.under or selection.include
    plan = await make_plan(repo, entry.rules, chosen, globs)
    return Resolved(
        name=repo.asked.repo,
        revision=repo.sha,
        source="hub",
        origin=repo.origin,
        local_root=safe_path(f"raw/{folder_name(repo.asked.repo)}"),
        text_field=entry.text_field,
        artifacts=Listing(repo, plan, selection, place.under).artifacts(),
        notes=tuple(notes),
    )


def _notes(place: HubTarget, repo: Repo) -> list[str]:
    notes, present = [], repo.asked.repo
    if place.entry and place.asked.casefold() in (was.casefold() for was in place.entry.was):
        notes.append(f"{display(place.asked)} is an id of former times; today this is {place.entry.id}")
    if present.casefold() != place.repo.casefold():
        notes.append(f"{place.repo} has been renamed to {display(present)}")
    if place.entry and place.entry.note:
        notes.append(place.entry.note)
    return notes


async def _conversion(repo: Repo) -> tuple[Repo, str]:
    """The viewer's Parquet files where they are the whole dataset, else the repo as it was, and what to tell."""
    asked = repo.asked
    why_not = await why_not_converted(repo.fetcher, asked.endpoint, asked.repo, repo.sha)
    if why_not:
        return repo, f"the Parquet conversion of {asked.repo} is not used: {why_not}; these are the repo's own files"
    converted = await pin(repo.fetcher, replace(asked, revision=CONVERT_REVISION))
    return converted, f"these are the viewer's Parquet files of commit {repo.sha}"
