"""What of a dataset somebody wants, as the command line says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asyncdl.core.names import matches_any
from asyncdl.sources.layout import Facet


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """langs, configs, splits: exact values; empty for all of them. revision: a branch, tag or commit sha, None for
    main. include, exclude: globs (`core.names.matches_any`). max_files, max_bytes: where to stop, in the order of
    the listing; positive, None for no end.
    """

    langs: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_files: int | None = None
    max_bytes: int | None = None

    def chosen(self, language: Callable[[str], str]) -> dict[Facet, tuple[str, ...]]:
        """Return the chosen values by facet, no facet without any; each language as `language` spells it."""
        asked: dict[Facet, tuple[str, ...]] = {
            "config": self.configs,
            "lang": tuple(map(language, self.langs)),
            "split": self.splits,
        }
        return {facet: tuple(dict.fromkeys(values)) for facet, values in asked.items() if values}

    def wants(self, path: str) -> bool:
        """Whether the globs let `path` through."""
        return (not self.include or matches_any(path, self.include)) and not matches_any(path, self.exclude)
