"""Which files are opened as a queue, and that the others are left exactly as they were."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from asyncdl.errors import ConfigError, SchemaTooNewError
from asyncdl.store import migrate
from tests.integration.store.rig import Rig, rows

ROOT = Path(__file__).parents[3]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-lock", "-shm"))}


def execute(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def opened(how, path):
    how(path).close()


BOTH = pytest.mark.parametrize("how", [migrate.open_writer, migrate.open_reader])


@BOTH
def test_a_file_that_is_no_database_is_refused_and_kept(how, tmp_path):
    path = tmp_path / "queue.sqlite"
    path.write_bytes(b"this is somebody's diary, not a queue\n" * 100)
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="not a queue"):
        opened(how, path)
    assert files(tmp_path) == before


@BOTH
def test_a_database_of_another_program_is_refused_and_kept(how, tmp_path):
    path = tmp_path / "queue.sqlite"
    execute(path, "CREATE TABLE song (name)")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="another program"):
        opened(how, path)
    assert files(tmp_path) == before


@BOTH
def test_a_queue_of_a_later_version_is_refused_and_kept(how, tmp_path):
    path = tmp_path / "queue.sqlite"
    Rig(path).close()
    execute(path, f"PRAGMA user_version = {migrate.VERSION + 1}")
    before = files(tmp_path)
    with pytest.raises(SchemaTooNewError, match=f"version {migrate.VERSION + 1}"):
        opened(how, path)
    assert files(tmp_path) == before


@BOTH
def test_a_later_version_that_was_killed_keeps_what_is_in_its_wal(how, tmp_path):
    path = tmp_path / "queue.sqlite"
    Rig(path).close()
    code = f"""
import apsw, os
connection = apsw.Connection({str(path)!r})
connection.execute("PRAGMA user_version = {migrate.VERSION + 1}")
os._exit(0)"""
    subprocess.run([sys.executable, "-c", code], check=True)
    before = files(tmp_path)
    assert before["queue.sqlite-wal"]
    with pytest.raises(SchemaTooNewError):
        opened(how, path)
    assert files(tmp_path) == before


def test_there_is_no_reading_where_there_is_no_queue(tmp_path):
    path = tmp_path / "queue.sqlite"
    with pytest.raises(ConfigError, match="no queue"):
        migrate.open_reader(path)
    assert list(tmp_path.iterdir()) == []
    path.touch()
    with pytest.raises(ConfigError, match="no queue"):
        migrate.open_reader(path)


def test_a_place_that_cannot_hold_a_queue_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be opened"):
        migrate.open_writer(tmp_path / "file" / "queue.sqlite")
    with pytest.raises(ConfigError, match="cannot be opened"):
        migrate.open_writer(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_without_write_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be opened"):
        migrate.open_writer(tmp_path / "queue.sqlite")


def test_a_new_queue_is_private_and_durable(tmp_path):
    path = tmp_path / "deep" / "queue.sqlite"
    connection = migrate.open_writer(path)
    pragmas = {name: connection.pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    connection.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_reader_never_writes_not_even_when_it_is_the_last_to_close(tmp_path):
    path = tmp_path / "queue.sqlite"
    code = f"""
import os, pathlib
from asyncdl.store import migrate
connection = migrate.open_writer(pathlib.Path({str(path)!r}))
connection.execute("INSERT INTO dataset VALUES (1,'a','','','hub','','r','',0)")
os._exit(0)"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    before = files(tmp_path)
    assert before["queue.sqlite-wal"]
    reader = migrate.open_reader(path)
    assert reader.execute("SELECT name FROM dataset").fetchall() == [("a",)]
    reader.close()
    assert files(tmp_path) == before


def test_processes_that_make_the_queue_at_once_make_one(tmp_path):
    path = tmp_path / "queue.sqlite"
    code = f"""
import pathlib
from asyncdl.store import migrate
input()
connection = migrate.open_writer(pathlib.Path({str(path)!r}))
print(connection.pragma("user_version"))
connection.close()"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        for _ in range(4)
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.communicate()[0].strip() for child in children] == [str(migrate.VERSION)] * 4
    assert [child.returncode for child in children] == [0] * 4


def add_column(connection: apsw.Connection) -> None:
    connection.execute("ALTER TABLE dataset ADD COLUMN planted TEXT NOT NULL DEFAULT 'here'")


def add_table(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE planted (n INTEGER) STRICT")


STEPS = {migrate.VERSION + 1: add_column, migrate.VERSION + 2: add_table}
LATER = migrate.VERSION + 2
OLD = "SELECT 1 FROM pragma_table_info('dataset') WHERE name = 'planted'"


def filled(path: Path) -> None:
    rig = Rig(path)
    rig.connection.execute("INSERT INTO dataset VALUES (1,'a','','','hub','','r','',0)")
    rig.close()


def test_an_older_queue_is_brought_up_step_by_step_with_a_copy_of_the_old_beside_it(tmp_path):
    path = tmp_path / "queue.sqlite"
    filled(path)
    migrate.open_writer(path, version=LATER, steps=STEPS).close()
    assert rows(path, "SELECT planted FROM dataset") == [("here",)]
    assert rows(path, "SELECT count(*) FROM planted") == [(0,)]
    assert rows(path, "PRAGMA user_version") == [(LATER,)]
    backup = tmp_path / f"queue.sqlite.v{migrate.VERSION}.bak"
    assert rows(backup, "PRAGMA user_version") == [(migrate.VERSION,)]
    assert rows(backup, "SELECT name FROM dataset") == [("a",)]
    assert rows(backup, OLD) == []
    assert backup.stat().st_mode & 0o777 == 0o600


def test_a_step_that_fails_leaves_the_old_version(tmp_path):
    path = tmp_path / "queue.sqlite"
    filled(path)

    def fail(connection: apsw.Connection) -> None:
        add_table(connection)
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError):
        migrate.open_writer(path, version=LATER, steps=STEPS | {LATER: fail})
    assert rows(path, "PRAGMA user_version") == [(migrate.VERSION,)]
    assert rows(path, OLD) == []
    migrate.open_writer(path, version=LATER, steps=STEPS).close()
    assert rows(path, "PRAGMA user_version") == [(LATER,)]


KILLED = """
import os, pathlib, signal, sys
from asyncdl.store import migrate
from tests.integration.store.test_store_open import LATER, STEPS
path, where = pathlib.Path(sys.argv[1]), sys.argv[2]
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
if where == "in the copy":
    migrate._sync = kill
elif where == "after the copy":
    migrate._back_up, copy = (lambda *names: (copy(*names), kill())), migrate._back_up
elif where == "in the last step":
    STEPS[LATER] = lambda connection: (connection.execute("CREATE TABLE half (n)"), kill())
connection = migrate.open_writer(path, version=LATER, steps=STEPS)
kill()
"""


@pytest.mark.parametrize("where", ["in the copy", "after the copy", "in the last step", "after the last step"])
def test_a_kill_leaves_the_old_version_or_the_new_and_never_one_between(tmp_path, where):
    path = tmp_path / "queue.sqlite"
    filled(path)
    child = subprocess.run([sys.executable, "-c", KILLED, str(path), where], cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL
    is_new = where == "after the last step"
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA user_version") == [(LATER if is_new else migrate.VERSION,)]
    assert (rows(path, OLD) != []) == is_new
    assert rows(path, "SELECT 1 FROM sqlite_schema WHERE name = 'half'") == []
    migrate.open_writer(path, version=LATER, steps=STEPS).close()
    assert rows(path, "PRAGMA user_version") == [(LATER,)]
    backup = tmp_path / f"queue.sqlite.v{migrate.VERSION}.bak"
    assert rows(backup, "SELECT name FROM dataset") == [("a",)]
