"""One catalogue file becomes one Entry, strictly: what is misspelled is an error with file, line and reason.

Knows the form of an entry (docs/CATALOG.md), not where entries come from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from asyncdl.core.names import display
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import ConfigError, UsageError
from asyncdl.sources.layout import FACETS, PLACE, Facet, Rule

T = TypeVar("T")

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""`org/name` with the Hub's characters and lengths (huggingface_hub `validate_repo_id`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A dataset as the catalogue knows it.

    name: the short one, the file's name without `.toml`. id: `org/name` on the Hub. text_field: its text
    column, '' where none is known. was: ids it had before. note: told to everybody who chooses it.
    languages: the dataset's own code -> other names. rules: its layout, empty where languages and configs
    are plain folders. parquet_list: the repo holds a script or lists of URLs, so the viewer's conversion is
    tried first.
    """

    name: str
    id: str
    text_field: str = ""
    was: tuple[str, ...] = ()
    note: str = ""
    languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    parquet_list: bool = False

    def language(self, name: str) -> str:
        """Return `name`; raise UsageError if it is one of the other names of a language, with the code in the hint.

        What is not listed passes: a dataset has more languages than the catalogue names.
        """
        folded = name.casefold()
        for code, others in self.languages.items():
            if name != code and folded in (code.casefold(), *(other.casefold() for other in others)):
                raise UsageError(f"{self.id} has no language {display(name)}", hint=f"did you mean {code}?")
        return name


def read_entry(path: Path) -> Entry:
    """Read the entry in `path`. Raises ConfigError that names the file, the line and what is wrong there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", hint="the catalogue entry cannot be read") from error
    return _Reader(path, text).entry()


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def entry(self) -> Entry:
        try:
            table = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            raise self._bad(str(error), line=int(line[1]) if line else self._text.count("\n") + 1) from None
        self._known(table, ("id", "field", "was", "note", "languages", "files", "parquet_list"))
        repo = self._string(table, "id", needed=True)
        if not REPO_ID.fullmatch(repo):
            raise self._bad(f"id must look like org/name, not {repo!r}", "id")
        return Entry(
            name=self._path.stem,
            id=repo,
            text_field=self._string(table, "field"),
            was=self._strings(table, "was"),
            note=self._string(table, "note"),
            languages=self._languages(table),
            rules=self._rules(table),
            parquet_list=self._typed(table, "parquet_list", bool, "true or false", default=False),
        )

    def _languages(self, table: dict[str, Any]) -> dict[str, tuple[str, ...]]:
        found = self._typed(table, "languages", dict, "a table", default={})
        languages = {code: self._strings(found, code) for code in found}
        owners: dict[str, str] = {}
        for code, others in languages.items():
            for name in {code.casefold(), *(other.casefold() for other in others)}:
                if owners.setdefault(name, code) != code:
                    raise self._bad(f"{name!r} means both {owners[name]} and {code}", code)
        return languages

    def _rules(self, table: dict[str, Any]) -> tuple[Rule, ...]:
        files = self._typed(table, "files", list, "[[files]] tables", default=[])
        starts = [match.start() for match in re.finditer(r"(?m)^\s*\[\[\s*files\s*\]\]", self._text)]
        starts += [0] * (len(files) - len(starts))  # files = [{...}]: the key alone must lead to the line
        return tuple(self._rule(rule, start) for rule, start in zip(files, starts, strict=False))

    def _rule(self, table: Any, start: int) -> Rule:
        if not isinstance(table, dict):
            raise self._bad("files must be [[files]] tables", "files")
        self._known(table, ("path", *FACETS), start)
        path = self._string(table, "path", needed=True, start=start)
        places = PLACE.findall(path)
        for place in places:
            if place not in FACETS:
                raise self._bad(f"{{{place}}} is not one of {{config}}, {{lang}}, {{split}}", "path", start)
        if any(step in ("", ".", "..") for step in path.split("/")):
            raise self._bad("path must be relative, without empty, '.' or '..' steps", "path", start)
        fixed: dict[Facet, str] = {}
        for facet in FACETS:
            if facet in table:
                fixed[facet] = self._string(table, facet, needed=True, start=start)
                if facet in places:
                    raise self._bad(f"{facet} is both fixed and a place in path", facet, start)
        return Rule(path, fixed)

    def _known(self, table: dict[str, Any], keys: tuple[str, ...], start: int = 0) -> None:
        for key in table:
            if key not in keys:
                meant = did_you_mean(near(key, keys)) or f"known are {', '.join(keys)}"
                raise self._bad(f"unknown key {key!r}; {meant}", key, start)

    def _string(self, table: dict[str, Any], key: str, *, needed: bool = False, start: int = 0) -> str:
        text = self._typed(table, key, str, "a string", default="", start=start)
        if needed and not text:
            raise self._bad(f"{key!r} is missing or empty", key, start)
        return text

    def _strings(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        found = self._typed(table, key, list, "a list of strings", default=[])
        if not all(isinstance(text, str) and text for text in found):
            raise self._bad(f"{key} must be a list of strings, none empty", key)
        return tuple(found)

    def _typed(self, table: dict[str, Any], key: str, kind: type[T], words: str, *, default: T, start: int = 0) -> T:
        value = table.get(key, default)
        if not isinstance(value, kind):
            raise self._bad(f"{key} must be {words}", key, start)
        return value

    def _bad(self, reason: str, key: str = "", start: int = 0, *, line: int = 0) -> ConfigError:
        """line: 1-based. Without it the line is where `key` stands at or after `start`, else that of `start`."""
        if not line:
            spelled = rf"""(?m)^\s*\[*\s*(?:[\w.]+\.)?["']?{re.escape(key)}["']?\s*[=\]]"""
            match = re.compile(spelled).search(self._text, start) if key else None
            at = match.end() if match else start
            line = self._text.count("\n", 0, at) + 1
        return ConfigError(f"{self._path}:{line}: {reason}", hint="docs/CATALOG.md says what an entry may hold")
