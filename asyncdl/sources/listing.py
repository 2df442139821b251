"""The Plan carried out: files stream in from the Hub, wanted ones stream out as Artifacts.

Nothing is collected; the order is the Hub's, folder by folder in path order. When the listing ends without a chosen
value having had a file, that is an error, so that a typing mistake never looks like an empty dataset.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from asyncdl.core.model import Artifact
from asyncdl.core.names import folder_of, matches_any
from asyncdl.sources.hub import Listed, NoFolderError, Repo
from asyncdl.sources.misses import Gap, explain
from asyncdl.sources.paths import exact_path
from asyncdl.sources.plan import Plan
from asyncdl.sources.selection import Budget, Selection


@dataclass(slots=True)
class Listing:
    """One pass over a repo. under: globs of the target itself, which hold besides the selection's."""

    repo: Repo
    plan: Plan
    selection: Selection
    under: tuple[str, ...] = ()
    _missing: list[str] = field(default_factory=list)

    async def artifacts(self) -> AsyncGenerator[Artifact, None]:
        """Yield the wanted files until the selection's limits.

        Raises UsageError where nothing fits, UnsafeNameError for a wanted name that cannot be stored, and the
        errors of `refusals`.
        """
        budget = Budget(self.selection)
        async with aclosing(self._wanted()) as wanted:
            async for file in wanted:
                if not budget.takes(file.path, file.size_bytes):
                    return
                yield Artifact(exact_path(file.path), file.size_bytes, file.digest)
                if budget.is_spent:
                    return
        missed = self.plan.sieve.missed()
        if missed or not budget.n_files:
            raise explain(self.repo, self.plan.sieve, missed, [await self._gap(folder) for folder in self._missing])

    async def _wanted(self) -> AsyncGenerator[Listed, None]:
        for folder in self.plan.folders:
            try:
                async with aclosing(self.repo.files(folder)) as files:
                    async for file in files:
                        if self.plan.sieve.takes(file.path) and self._passes(file.path):
                            yield file
            except NoFolderError:
                self._missing.append(folder)  # judged at the end: another layout may have what was chosen

    def _passes(self, path: str) -> bool:
        return self.selection.wants(path) and (not self.under or matches_any(path, self.under))

    async def _gap(self, folder: str) -> Gap:
        """Where the path of a missing folder ends."""
        above, step = folder_of(folder), folder.rpartition("/")[2]
        try:
            return Gap(above, step, await self.repo.folders(above))
        except NoFolderError:
            return await self._gap(above)
