"""The one exception that means: this file cannot be worked on, whoever tries.

Raised anywhere below a task and turned into `contract.Rejected` by `entry.run`; it never crosses the
process boundary itself. Knows nothing of Parquet or tokenizers. Standard library only.
"""

from __future__ import annotations

from workers.contract import REJECTIONS


class Refused(Exception):  # noqa: N818 - a verdict about a file, not an error of the program
    """error_class: a key of `contract.REJECTIONS`; message: one line for people."""

    def __init__(self, error_class: str, message: str) -> None:
        assert error_class in REJECTIONS, error_class
        super().__init__(message)
        self.error_class = error_class
        self.message = message
