"""The project's own source as syntax trees, for tests that hold rules over all of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """name: dotted, a package's without `__init__`."""

    name: str
    path: Path
    text: str

    @property
    def where(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def tree(self) -> ast.Module:
        """Parsed anew each time: kept, the trees of a whole project slow every later garbage collection down."""
        return ast.parse(self.text, str(self.path))

    def imported(self) -> Iterator[tuple[str, int]]:
        """Every dotted name imported anywhere in the module, within functions too, with its line.

        `from a import b` gives `a.b`: whether b is a module or a name in one is for the reader to see.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.where}:{node.lineno} imports relatively"
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def modules(*packages: str) -> list[Module]:
    """All modules of the packages, in path order."""
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [module_of(path.read_text(encoding="utf-8"), path) for path in paths]


def module_of(text: str, path: Path) -> Module:
    steps = path.relative_to(ROOT).with_suffix("").parts
    return Module(".".join(steps).removesuffix(".__init__"), path, text)
