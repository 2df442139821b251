"""Which of the listed files are wanted, and which wishes nothing fulfilled: an unknown language is never silent.

A wish is a chosen value of a facet. Only exact values count: `swe_Latn` takes nothing of `swe_Latn_removed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from asyncdl.sources.layout import FACETS, Facet

Facets = Mapping[Facet, Sequence[str]]

_SEEN_AT_MOST = 2000  # guess: more values than any dataset has languages; bounds the memory for suggestions


class Sieve:
    """Fed with every listed path once. `missed` is meaningful when the listing has ended.

    chosen: the wanted values by facet, no facet with none. facets: what a path may belong to, None where the
    question makes no sense for it (a README).
    """

    def __init__(self, chosen: Facets, facets: Callable[[str], Facets | None]) -> None:
        self.chosen = chosen
        self._facets = facets
        self._fulfilled: set[tuple[Facet, str]] = set()
        self._seen: dict[Facet, set[str]] = {facet: set() for facet in chosen}

    def takes(self, path: str) -> bool:
        """Whether `path` has, of each chosen facet, one of the chosen values."""
        if not self.chosen:
            return True
        facets = self._facets(path)
        if facets is None:
            return False
        fits = []
        for facet, wanted in self.chosen.items():
            values = facets.get(facet, ())
            if len(self._seen[facet]) < _SEEN_AT_MOST:
                self._seen[facet].update(values)
            fits += [(facet, value) for value in values if value in wanted]
        if {facet for facet, _ in fits} != set(self.chosen):
            return False
        self._fulfilled.update(fits)
        return True

    def missed(self) -> list[tuple[Facet, str]]:
        """Return the chosen values that no file had, in the order of FACETS."""
        wishes = [(facet, value) for facet in FACETS for value in self.chosen.get(facet, ())]
        return [wish for wish in wishes if wish not in self._fulfilled]

    def seen(self, facet: Facet) -> frozenset[str]:
        """Return the values of `facet` that listed paths had, wanted or not."""
        return frozenset(self._seen.get(facet, ()))
