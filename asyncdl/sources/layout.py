"""How a dataset names its files: templates such as `data/{lang}/{split}/*.parquet`, read in both directions.

From a path to its facets (the language, config and split that it belongs to), and from chosen facets to the few
folders that must be listed. Pure; knows nothing of the Hub.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

Facet = Literal["config", "lang", "split"]
FACETS: tuple[Facet, ...] = get_args(Facet)

FACET_WORDS: Mapping[Facet, str] = {"config": "config", "lang": "language", "split": "split"}

PLACE = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of file. path: `*` stands for any text within one step, `{lang}`, `{config}` and `{split}` too,
    and say what it is. fixed: the facets that every file of this kind has.
    """

    path: str
    fixed: Mapping[Facet, str]

    @property
    def facets(self) -> frozenset[str]:
        return frozenset(PLACE.findall(self.path)) | frozenset(self.fixed)


def facets_of(path: str, rules: Sequence[Rule]) -> Mapping[Facet, str] | None:
    """Return the facets of `path` by the first rule that it fits, None where it fits none."""
    for rule in rules:
        match = _pattern(rule.path).fullmatch(path)
        if match:
            return {**rule.fixed, **match.groupdict()}  # type: ignore[dict-item]  # the groups are named by Facet
    return None


@lru_cache(maxsize=256)
def _pattern(template: str) -> re.Pattern[str]:
    """Places match as little as they can: `c4-{lang}.*.gz` reads `sv` out of `c4-sv.tfrecord.gz`."""
    expression, seen = "", set[str]()
    for number, text in enumerate(PLACE.split(template)):
        if number % 2 == 0:
            expression += "[^/]*".join(map(re.escape, text.split("*")))
        else:
            expression += f"(?P={text})" if text in seen else f"(?P<{text}>[^/]+?)"
            seen.add(text)
    return re.compile(expression)


def folders_for(rules: Sequence[Rule], chosen: Mapping[Facet, Sequence[str]]) -> tuple[str, ...]:
    """Return the folders that hold every file with the chosen facets, sorted, none inside another; '' is the root.

    A rule that lacks a chosen facet, or fixes it to something else, has no such files.
    """
    folders: set[str] = set()
    earlier: set[str] = set()  # a file belongs to the first rule it fits: a later rule spelled the same gets none
    for rule in rules:
        if rule.facets.issuperset(chosen) and all(rule.fixed.get(f, v[0]) in v for f, v in chosen.items()):
            for path in _spelled(rule, chosen):
                if path not in earlier:
                    folders.add(fixed_folder(path))
        earlier.add(rule.path)
    return outermost(folders)


def _spelled(rule: Rule, chosen: Mapping[Facet, Sequence[str]]) -> list[str]:
    """The rule's path with each combination of the chosen values in their places."""
    places = [facet for facet in FACETS if facet in chosen and f"{{{facet}}}" in rule.path]
    paths = []
    for values in itertools.product(*(chosen[facet] for facet in places)):
        path = rule.path
        for facet, value in zip(places, values, strict=True):
            path = path.replace(f"{{{facet}}}", value)
        paths.append(path)
    return paths


def fixed_folder(path: str, wild: str = "*{") -> str:
    """Return the leading folders of `path` in which no character of `wild` occurs; '' where the first has one."""
    steps = path.split("/")[:-1]
    return "/".join(itertools.takewhile(lambda step: not any(char in step for char in wild), steps))


def outermost(folders: set[str]) -> tuple[str, ...]:
    """Return `folders` sorted, without those that lie inside another one."""
    return tuple(sorted(f for f in folders if not any(f != o and (not o or f.startswith(f"{o}/")) for o in folders)))
