"""A small file in one go: written, synced and published by one call. It blocks; call it in a thread."""

from __future__ import annotations

import os
from pathlib import Path

from asyncdl.disk.layout import partial_path
from asyncdl.disk.partial import disk_errors, leave_reserve, make_folders, rename_within, sync_folder


def publish_whole(final: Path, content: memoryview) -> None:
    """Make `content` the file `final`, durable under its name; a kill leaves it whole, or not there.

    The caller is the only one who writes this file. Raises TransferError by who must act, see `disk_errors`.
    """
    path = partial_path(final)
    with disk_errors(final):
        leave_reserve(final.parent, len(content))
        make_folders(final.parent)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            at = 0
            while at < len(content):
                at += os.write(fd, content[at:])
            os.fsync(fd)
        finally:
            os.close(fd)
        rename_within(path, final)
        sync_folder(final.parent)
