"""The datasets that have a short name: the packaged entries, and the user's beside them, which win.

The user's place is $XDG_CONFIG_HOME/asyncdl/catalog, one `.toml` file per dataset (~/.config where the variable
is not set). A name is a short name, a Hub id, the id's last step or a former id; case does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from asyncdl.core.near import near
from asyncdl.errors import ConfigError
from asyncdl.sources.entries import Entry, read_entry

PACKAGED = Path(__file__).with_name("catalog")


class Catalog:
    """Entries by every name they go by. `entries` has one of each short name, sorted."""

    def __init__(self, packaged: Iterable[Entry], users: Iterable[Entry] = ()) -> None:
        self._by_name: dict[str, Entry] = {}
        weak: dict[str, Entry] = {}
        for level in (packaged, users):
            taken: dict[str, Entry] = {}
            for entry in level:
                for name in (entry.name, entry.id, *entry.was):
                    other = taken.setdefault(name.casefold(), entry)
                    if other is not entry:
                        raise ConfigError(
                            f"the catalogue entries {other.name} and {entry.name} both claim the name {name}",
                            hint="rename one of the files, or take the name out of its `was`",
                        )
                weak[entry.id.rpartition("/")[2].casefold()] = entry
            self._by_name.update(taken)
        self._by_name = weak | self._by_name
        self.entries = sorted(set(self._by_name.values()), key=lambda entry: entry.name)

    def find(self, name: str) -> Entry | None:
        return self._by_name.get(name.casefold())

    def near(self, name: str) -> tuple[str, ...]:
        """Return names of the catalogue that `name` may have meant."""
        names = [name for entry in self.entries for name in (entry.name, entry.id)]
        return near(name, names)


def load_catalog() -> Catalog:
    """Read the packaged and the user's entries. Raises ConfigError at the first one that is wrong."""
    return Catalog(_entries_in(PACKAGED), _entries_in(users_place()))


def users_place() -> Path:
    """Return where the user's entries are; it need not exist."""
    config = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not config.is_absolute():  # the XDG specification: unset, empty and relative ones are ignored
        config = Path.home() / ".config"
    return config / "asyncdl" / "catalog"


def _entries_in(folder: Path) -> list[Entry]:
    return [read_entry(path) for path in sorted(folder.glob("*.toml"))]
