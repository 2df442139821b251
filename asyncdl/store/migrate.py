"""Opening queue.sqlite: the right place, the right application, the right version, the right pragmas.

A file from a later asyncdl is refused untouched; an older one is brought up step by step in one transaction, after
a copy of it was made beside it. All of it happens under the sidecar's lock, so that two engines that start at once
make or migrate the file once, and the copy is of the old version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import apsw

from asyncdl.core.names import display
from asyncdl.errors import AsyncdlError, ConfigError, NoRoomError, SchemaTooNewError, StoreError
from asyncdl.store import place, sql
from asyncdl.store.sidecar import Sidecar

APPLICATION_ID = 0x6164_6C31
"""PRAGMA application_id: "adl1", so that `file` and we know the file as ours."""

VERSION = 3
"""PRAGMA user_version that this asyncdl writes; schema.sql is that version."""

Step = Callable[[apsw.Connection], object]
STEPS: Mapping[int, Step] = {
    2: lambda connection: connection.execute(sql.script("to_version_2.sql")),
    3: lambda connection: connection.execute(sql.script("to_version_3.sql")),
}
"""{version: what brings a file of version - 1 there}."""

BUSY_TIMEOUT_MS = 10_000

WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an answered change survives a power cut; batching makes it cheap
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 1000",  # pages; within our own commit, so under the sidecar lock
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -32000",
    "PRAGMA temp_store = FILE",  # a listing of millions waits in a temp table; memory stays flat
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)


def open_writer(path: Path, *, version: int = VERSION, steps: Mapping[int, Step] = STEPS) -> apsw.Connection:
    """Open `path` for writing, made or migrated as needed. The caller closes it.

    Blocks, for a minute if need be: a loop calls it in a thread.

    Raises SchemaTooNewError; ConfigError for a foreign file, an unwritable place or a network file system;
    NoRoomError, StoreError for a disk that is full or broken, or a lock that nobody gives up.
    """
    place.refuse_network(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error
    sidecar = Sidecar(path)
    try:
        with sidecar:
            return _open(path, version, steps)
    finally:
        sidecar.close()


def _open(path: Path, version: int, steps: Mapping[int, Step]) -> apsw.Connection:
    had_wal = Path(f"{path}-wal").exists()
    try:
        connection = apsw.Connection(str(path))
    except apsw.Error as error:
        raise told(path, error) from error
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        found = check_version(connection, path, version)
        path.chmod(0o600)  # names of private datasets are in it
        for pragma in WRITER_PRAGMAS:
            connection.execute(pragma)
        if found != version:
            _migrate(connection, path, version=version, found=found, steps=steps)
    except BaseException as error:
        _close_untouched(connection, had_wal=had_wal)
        if isinstance(error, apsw.Error | OSError):
            raise told(path, error) from error
        raise
    return connection


def _close_untouched(connection: apsw.Connection, *, had_wal: bool) -> None:
    """A close would copy a WAL that is not ours into its file; one that was not there is ours to clear away."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(had_wal))
    connection.close()


def _migrate(connection: apsw.Connection, path: Path, *, version: int, found: int, steps: Mapping[int, Step]) -> None:
    if found:
        _back_up(connection, path.with_name(f"{path.name}.v{found}.bak"))
    connection.execute("PRAGMA foreign_keys = OFF")  # not within a transaction; a step may rebuild what others refer to
    connection.execute("BEGIN IMMEDIATE")
    if not found:
        connection.execute(sql.script("schema.sql"))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for step in range((found or VERSION) + 1, version + 1):
        steps[step](connection)
    if sql.rows(connection, "PRAGMA foreign_key_check"):
        raise StoreError(
            f"the queue {path} has rows without what they belong to, and stays as it was",
            hint="restore it from a backup, or choose another file with --queue and enqueue again",
        )
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA foreign_keys = ON")


def _back_up(connection: apsw.Connection, backup: Path) -> None:
    """Copy under a partial name first: a killed copy must not look like a backup, nor replace a whole one."""
    partial = backup.with_name(f"{backup.name}.partial")
    partial.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(partial),))
    partial.chmod(0o600)
    _sync(partial)
    partial.replace(backup)
    _sync(backup.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_version(connection: apsw.Connection, path: Path, version: int = VERSION) -> int:
    """Return the version of the file, 0 for an empty one; raise if it is foreign or too new."""
    found = _pragma(connection, "user_version")
    ours = _pragma(connection, "application_id") == APPLICATION_ID
    n_tables = sql.rows(connection, "SELECT count(*) FROM sqlite_schema")[0][0]
    if found > version and ours:
        raise SchemaTooNewError(
            f"the queue {path} has version {found}; this asyncdl knows {version}",
            hint="install the newer asyncdl again, or choose another file with --queue; nothing was changed",
        )
    if not ours and (n_tables or found):
        raise ConfigError(f"{path} is an SQLite file of another program", hint="choose another file with --queue")
    return found


def _pragma(connection: apsw.Connection, name: str) -> int:
    return int(sql.rows(connection, f"PRAGMA {name}")[0][0])


def told(path: Path, error: apsw.Error | OSError) -> AsyncdlError:
    """Say in our words why `path` could not be opened."""
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return ConfigError(
            f"{path} is not a queue: {display(str(error))}",
            hint="restore it from a backup (<queue>.v<N>.bak), or choose another file with --queue",
        )
    if isinstance(error, apsw.FullError):
        return NoRoomError(f"there is no room for the queue {path}", hint="make room on its disk")
    if isinstance(error, OSError | apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError):
        return _unusable(path, error)
    return StoreError(f"the queue {path} cannot be read: {display(str(error))}", hint="check the disk")


def _unusable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"the queue {path} cannot be opened: {display(str(error))}",
        hint="choose another place with --queue, or check the owner and the rights of its folder",
    )


def open_reader(path: Path) -> apsw.Connection:
    """Open an existing queue for reading; it never writes and never checkpoints. The caller closes it.

    Raises ConfigError if there is none, SchemaTooNewError if it is of a later version.
    """
    if not path.exists():
        raise _no_queue(path)
    place.refuse_network(path)
    had_wal = Path(f"{path}-wal").exists()
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        raise told(path, error) from error
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the last one to close would write
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        found = check_version(connection, path)
        for older in range(found, VERSION) if found else ():
            connection.execute(sql.queries("reads.sql")[f"over_version_{older}"])
        connection.execute("PRAGMA query_only = ON")
    except BaseException as error:
        _close_untouched(connection, had_wal=had_wal)
        if isinstance(error, apsw.Error):
            raise told(path, error) from error
        raise
    if found == 0:
        connection.close()
        raise _no_queue(path)
    return connection


def _no_queue(path: Path) -> ConfigError:
    return ConfigError(f"there is no queue at {path}", hint="asyncdl enqueue TARGET makes one; see also --queue")
