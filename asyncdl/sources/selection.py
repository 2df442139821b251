"""What of a dataset somebody wants, as the command line says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asyncdl.core.names import display, matches_any
from asyncdl.errors import UsageError
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


@dataclass(slots=True)
class Budget:
    """How much of a listing may still be taken. n_files, n_bytes: taken so far."""

    selection: Selection
    n_files: int = 0
    n_bytes: int = 0

    def takes(self, path: str, size_bytes: int | None) -> bool:
        """Whether one more file fits into --max-bytes; then it is counted. Raises UsageError if the first does not."""
        n_bytes, max_bytes = self.n_bytes + (size_bytes or 0), self.selection.max_bytes
        if max_bytes is not None and n_bytes > max_bytes:
            if not self.n_files:
                raise UsageError(
                    f"the first file, {display(path)}, alone has {size_bytes} bytes", hint="raise --max-bytes"
                )
            return False
        self.n_files += 1
        self.n_bytes = n_bytes
        return True

    @property
    def is_spent(self) -> bool:
        """Whether --max-files are taken."""
        return self.n_files == self.selection.max_files
