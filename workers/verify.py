"""Checks one finished file of documents without changing it, cheapest first, and plans its parts.

Invariant: `checks` names only what was done and passed. Knows of a kind of file only how it begins when it is a
web page instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from workers import verify_lines, verify_parquet
from workers.contract import Check, Verified, VerifyTask
from workers.formats import format_of
from workers.parquet_file import size_of
from workers.refused import Refused

_HEAD_BYTES = 512  # guess: an HTML page says so within its first few hundred bytes
_HTML_OPENINGS = (b"<!doctype html", b"<html")


def run(task: VerifyTask) -> Verified:
    """Raises Refused with the first and most telling reason, in the order of `contract.Check`.

    A file whose name says nothing is held to be Parquet.
    """
    checks: list[Check] = []
    size_bytes = size_of(task.path)
    _check_delivery(task, size_bytes, checks)
    form = format_of(task.path)
    if form is not None and form.kind == "json_lines":
        verified = verify_lines.verified(task, size_bytes, checks)
    else:
        verified = verify_parquet.verified(task, size_bytes, checks)
    if not task.hash:
        return verified
    with Path(task.path).open("rb") as file:
        return replace(verified, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _check_delivery(task: VerifyTask, size_bytes: int, checks: list[Check]) -> None:
    """A login page is named as one even though its size is wrong as well, and so is nothing at all."""
    if size_bytes == 0 and task.size_bytes:
        raise Refused("empty_file", "the file has no bytes")
    with Path(task.path).open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML_OPENINGS):
        raise Refused("html_instead", f"begins with {head[:40]!r}")
    if task.size_bytes is not None:
        if size_bytes != task.size_bytes:
            raise Refused("wrong_size", f"{size_bytes} bytes where {task.size_bytes} were announced")
        checks.append("size")
