"""What a full disk looks like, for all that write."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from workers.refused import Refused

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def needing_room(folder: str) -> Iterator[None]:
    """Raise Refused: no_room where the body finds the disk full; other errors of the machine pass through."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise Refused("no_room", f"{folder}: {error.strerror}") from error
        raise
