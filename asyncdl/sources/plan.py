"""From a selection to a Plan: the fewest folders to list, and the sieve for what they hold.

Two ways: by the layout that the catalogue knows, or by folders of the chosen names, `<name>/` or `data/<name>/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from asyncdl.core.names import display, folder_of
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import UsageError
from asyncdl.sources.hub import NoFolderError, Repo
from asyncdl.sources.layout import FACET_WORDS, Facet, Rule, facets_of, fixed_folder, folders_for, outermost
from asyncdl.sources.sieve import Facets, Sieve
from asyncdl.sources.viewer import config_names

_GLOB = "*?["


@dataclass(frozen=True, slots=True)
class Plan:
    """folders: sorted, none inside another; '' is the whole repo."""

    folders: tuple[str, ...]
    sieve: Sieve


async def make_plan(repo: Repo, rules: Sequence[Rule], chosen: Facets, globs: tuple[str, ...]) -> Plan:
    """Return how to find the chosen files. rules: the layout, empty where it is not known. globs: some of them
    must match every wanted path.

    Raises UsageError for a language or config that has no folder.
    """
    if not chosen:
        return Plan(_folders_of(globs), Sieve({}, lambda _: {}))
    if any(rule.facets.issuperset(chosen) for rule in rules):
        folders = folders_for(rules, chosen)
        if not folders:
            raise UsageError(f"{repo.asked.repo} has nothing with {described(chosen)}")
        return Plan(folders, Sieve(chosen, partial(_by_rules, rules)))
    found = await _Search(repo).folders(chosen)
    return Plan(outermost(set(found)), Sieve(chosen, partial(_by_folders, found)))


def described(chosen: Facets) -> str:
    """Return the choice in words, e.g. `language sv and split test`."""
    return " and ".join(f"{FACET_WORDS[facet]} {display(' or '.join(values))}" for facet, values in chosen.items())


def _folders_of(globs: tuple[str, ...]) -> tuple[str, ...]:
    """Where files that match one of `globs` can be; a glob without a slash matches names in any folder."""
    return outermost({fixed_folder(glob, _GLOB) for glob in globs or ("",)})


def _by_rules(rules: Sequence[Rule], path: str) -> Facets | None:
    facets = facets_of(path, rules)
    return None if facets is None else {facet: (value,) for facet, value in facets.items()}


def _by_folders(found: Mapping[str, Mapping[Facet, str]], path: str) -> Facets | None:
    """Below a found folder; the split is then any step, or what the file's name begins with before - or a dot."""
    for folder, facets in found.items():
        if not folder or path.startswith(f"{folder}/"):
            below = path[len(folder) :].lstrip("/")
            steps, name = folder_of(below).split("/"), below.rpartition("/")[2]
            splits = (*filter(None, steps), *(name.split(mark)[0] for mark in "-." if mark in name))
            return {**{facet: (value,) for facet, value in facets.items()}, "split": splits}
    return None


class _Search:
    """Looks for folders of the chosen names; each folder is listed once."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._names: dict[str, list[str]] = {}

    async def folders(self, chosen: Facets) -> dict[str, Mapping[Facet, str]]:
        """Return the folder of each combination of config and language, with what it stands for."""
        found: dict[str, Mapping[Facet, str]] = {"": {}}
        facets: tuple[Facet, ...] = ("config", "lang")
        for facet in facets:
            values = chosen.get(facet)
            if values:
                found = {
                    await self._find(base, facet, value): {**known, facet: value}
                    for base, known in found.items()
                    for value in values
                }
        return found

    async def _find(self, base: str, facet: Facet, value: str) -> str:
        for place in (base, f"{base}/data".lstrip("/")):
            if value in await self._in(place):
                return f"{place}/{value}".lstrip("/")
        raise await self._none(base, facet, value)

    async def _in(self, folder: str) -> list[str]:
        if folder not in self._names:
            try:
                self._names[folder] = await self._repo.folders(folder)
            except NoFolderError:
                self._names[folder] = []
        return self._names[folder]

    async def _none(self, base: str, facet: Facet, value: str) -> UsageError:
        asked = self._repo.asked
        names = [name for place in (base, f"{base}/data".lstrip("/")) for name in await self._in(place)]
        hint = did_you_mean(near(value, names))
        if facet == "config":
            configs = await config_names(self._repo.fetcher, asked.endpoint, asked.repo)
            if value in configs:
                hint = "its card names that config, but no folder is called so: choose its files with --include"
            else:
                hint = did_you_mean(near(value, [*names, *configs]))
        where = f" in {display(base)}" if base else ""
        return UsageError(
            f"{asked.repo} has no {FACET_WORDS[facet]} {display(value)}: no folder {display(value)} or "
            f"data/{display(value)}{where}",
            hint=hint or f"its folders are at {asked.page}/tree/main",
        )
