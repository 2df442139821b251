"""A text that must not be shown. Only `reveal` gives it, and only `net.credentials` calls that."""

from __future__ import annotations


class Secret:
    """repr, str and format show `***`; it cannot be pickled, so it never reaches a worker."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a Secret stays in its process")
