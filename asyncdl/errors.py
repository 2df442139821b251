"""Every exception of asyncdl, sorted by who must act, each with the exit code it ends a command with.

An error says what failed and why in its message and what to do next in its hint. Neither may hold a
secret or a signed query: URLs enter through `core.names.redact_url`.
"""

from __future__ import annotations


class AsyncdlError(Exception):
    """The root; never raised itself."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AsyncdlError):
    """The command line is wrong: an unknown dataset or language, a bad size, a bad glob."""

    exit_code = 2


class ConfigError(AsyncdlError):
    """Settings, credentials or the place of a file must be changed by the user."""

    exit_code = 3


class SchemaTooNewError(ConfigError):
    """queue.sqlite was written by a later asyncdl; it was left untouched."""


class NoRoomError(AsyncdlError):
    """Bytes, inodes or quota do not suffice; nothing was started."""

    exit_code = 4


class StoreError(AsyncdlError):
    """queue.sqlite cannot be trusted to take another write: an I/O error, damage, or it was taken away."""

    exit_code = 3


class DiskFailedError(AsyncdlError):
    """The disk reports errors (EIO, or it became read-only): the engine stopped, for trying again may do harm."""

    exit_code = 3


class RemoteError(AsyncdlError):
    """The other side cannot be reached or answers with what cannot be used, retries spent."""

    exit_code = 5


class ShardError(AsyncdlError):
    """A shard is not there or is not what its manifest says; it must be made again."""

    exit_code = 6


class UnsafeNameError(AsyncdlError):
    """A name from outside would leave the data dir or cannot be stored on this file system."""

    exit_code = 6


class LeaseLostError(AsyncdlError):
    """Somebody else has the job: drop the work, touch nothing."""


class TransferError(AsyncdlError):
    """One request or one file failed. `error_class` is a key of `core.retry.TREATMENTS`, which decides.

    retry_after_s: how long the other side asked to be left alone, if it did.
    """

    def __init__(
        self, error_class: str, message: str, *, hint: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.error_class = error_class
        self.retry_after_s = retry_after_s
