"""The SQL of this room as named texts, read once from the .sql files beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import apsw


@cache
def script(file_name: str) -> str:
    """Return the statements of a file that is run as a whole."""
    return files("asyncdl.store").joinpath(file_name).read_text(encoding="utf-8")


@cache
def queries(file_name: str = "queries.sql") -> dict[str, str]:
    """Return {name: statement} of a file in which each statement follows a `-- name:` line."""
    parts = re.split(r"^-- name: (\w+)\n", script(file_name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def rows(
    connection: apsw.Connection, statement: str, bindings: Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Run `statement` to its end and return its rows; no cursor stays open."""
    return connection.execute(statement, bindings).fetchall()


def library_version() -> str:
    """Return the version of the SQLite that apsw brings."""
    return apsw.sqlite_lib_version()
