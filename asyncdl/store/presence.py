"""That an engine lives, shown by a `flock` on a file of its own, `<queue>-engine-<owner>`.

The kernel lets go of it when the process ends, however that ends, and shows it across pid namespaces, where process
ids say nothing. Knows nothing of jobs.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from asyncdl.core.names import display
from asyncdl.errors import ConfigError


class Presence:
    """Hold it with `with`, from before the engine's row is made until after it is ended; once.

    Left with an exception, the file stays, let go of: then the row may be open still, and the file is the proof.
    """

    def __init__(self, queue: Path, owner: str) -> None:
        self._path = path_of(queue, owner)
        self._fd = -1

    def __enter__(self) -> None:
        """Raises ConfigError if the file cannot be made."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # free: nobody else knows this owner yet
        except OSError as error:
            raise ConfigError(
                f"the file beside the queue {self._path} cannot be made: {display(str(error))}",
                hint="choose another place with --queue, or check the owner and the rights of its folder",
            ) from error

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is None:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def path_of(queue: Path, owner: str) -> Path:
    return queue.with_name(f"{queue.name}-engine-{owner}")


def has_ended(queue: Path, owner: str) -> bool | None:
    """Whether the engine `owner` has let go of its file; None where it has none or it cannot be opened."""
    try:
        fd = os.open(path_of(queue, owner), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    else:
        return True
    finally:
        os.close(fd)


def remove(queue: Path, owner: str) -> None:
    """Remove what an engine that ended left."""
    path_of(queue, owner).unlink(missing_ok=True)
