"""A listed path becomes a SafePath only if its URL can be rebuilt from it."""

from __future__ import annotations

from asyncdl.core.names import SafePath, display, safe_path
from asyncdl.errors import UnsafeNameError


def exact_path(text: str) -> SafePath:
    """Return `text` as a SafePath. Raises UnsafeNameError; also where safe_path would change it.

    safe_path composes accents (NFC), and the origin would then be asked for a name that it does not have.
    """
    path = safe_path(text)
    if path != text:
        raise UnsafeNameError(
            f"the name {display(text[:200])} was refused: its accents are written apart from their letters (not NFC)",
            hint="leave it out with --exclude, or ask the publisher to rename it",
        )
    return path
