import os
from pathlib import Path

import pytest

from tests.support import small_disk as support


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with room for 64 KiB and a few files."""
    with support.small_disk(tmp_path / "small", size_bytes=64 << 10, n_inodes=8) as place:
        yield place


@pytest.fixture
def calls(monkeypatch):
    """What reaches the disk, in order: (name of the call, name of the file or folder)."""
    made = []

    def noted(name, real, name_of):
        def call(*args, **kwargs):
            made.append((name, name_of(args)))
            return real(*args, **kwargs)

        return call

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(
            os, name, noted(name, getattr(os, name), lambda args: Path(os.readlink(f"/proc/self/fd/{args[0]}")).name)
        )
    monkeypatch.setattr(os, "rename", noted("rename", os.rename, lambda args: Path(args[1]).name))
    monkeypatch.setattr(os, "mkdir", noted("mkdir", os.mkdir, lambda args: Path(args[0]).name))
    return made
