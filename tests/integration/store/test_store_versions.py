"""A queue of an earlier version, made by that version's own schema, becomes one of today's and loses nothing."""

import re
from pathlib import Path

import apsw
import pytest

from asyncdl.errors import StoreError
from asyncdl.store import migrate
from asyncdl.store.reader import Reader
from tests.integration.store.rig import NOW, Rig, assert_sound, dataset, rows

VERSIONS = (1, 2)
JOB_COLUMNS = (
    "id, dataset_id, kind, path, state, run_at, size_bytes, done_bytes, digest, attempt, validator, had, result"
)
FILLED = f"""
INSERT INTO dataset VALUES (1, 'org/name', '{"a" * 40}', 's', 'hub', 'http://hub.test', 'raw/org--name', 'text', {NOW});
INSERT INTO dataset VALUES (7, 'host', '', 'u', 'url', 'https://host', 'raw/host', '', {NOW});
INSERT INTO recipe VALUES (3, 'tok-1024', 'tok', '/tok', 'cd', 2, 1024);
INSERT INTO dataset_recipe VALUES (1, 3);
INSERT INTO job (id, dataset_id, kind, path, run_at, size_bytes, created_at) VALUES (1, 1, 'download', 's/1', 5, 100, 5);
INSERT INTO job (id, dataset_id, kind, path, run_at, size_bytes, created_at) VALUES (2, 1, 'download', 's/2', 5, 100, 5);
INSERT INTO job (id, dataset_id, kind, path, run_at, created_at) VALUES (3, 7, 'download', 'u/3', 5, 5);
UPDATE job SET state = 'running', owner = 'me', lease_until = 9, attempt = 1 WHERE id IN (2, 3);
UPDATE job SET state = 'completed', owner = NULL, lease_until = NULL, ended_at = 8, size_bytes = 7, done_bytes = 7,
  validator = '"v"', result = '{{}}' WHERE id = 3;
UPDATE job SET done_bytes = 40, had = '0-40', validator = '"w"' WHERE id = 2;
INSERT INTO attempt VALUES (1, 1, 'me', 1, 2, 'retry', 'dns', 'no address');
INSERT INTO engine (owner, host, pid, identity, version, workers, started_at, beat_at) VALUES ('me', 'h', 1, 'i', '0', 8, 1, 2);
"""
TABLES = ("dataset", "recipe", "dataset_recipe", "job", "attempt", "counter")


def of_version(version: int, path: Path, content: str = FILLED) -> Path:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(Path(__file__).with_name(f"schema_{version}.sql").read_text(encoding="utf-8") + content)
    connection.execute(f"PRAGMA application_id = {migrate.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    return path


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def old(version, tmp_path):
    return of_version(version, tmp_path / "queue.sqlite")


def contents(path, columns=None):
    """{table: its rows}, of `columns` only, {table: their names}; None is all there are."""
    return {
        table: rows(path, f"SELECT {', '.join(columns[table]) if columns else '*'} FROM {table}") for table in TABLES
    }


def columns_of(path):
    return {
        table: [name for (name,) in rows(path, f"SELECT name FROM pragma_table_info('{table}')")] for table in TABLES
    }


def test_every_row_is_there_afterwards_and_a_copy_of_the_old_file_beside_it(old, version, tmp_path):
    before, columns = contents(old), columns_of(old)
    assert all(before.values())
    migrate.open_writer(old).close()
    assert contents(old, columns) == before
    assert_sound(old)
    assert rows(old, "PRAGMA user_version") == [(migrate.VERSION,)]
    backup = tmp_path / f"queue.sqlite.v{version}.bak"
    assert rows(backup, "PRAGMA user_version") == [(version,)]
    assert contents(backup) == before
    assert rows(old, "SELECT owner, bound FROM engine") == [("me", "")]


def shape(path):
    """All that a schema says, in whatever words it says it."""
    found = {}
    for kind, name, table, text in rows(path, "SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        plain = re.sub(r"--[^\n]*|[\s\"]+", "", text or "")
        facts = [("in", table), ("text", plain)]
        if kind == "table":
            facts += [
                (what, sorted(rows(path, f"SELECT * FROM pragma_{what}('{name}')"), key=repr))
                for what in ("table_xinfo", "index_list", "foreign_key_list")
            ]
            facts.append(("flags", rows(path, f"SELECT type, ncol, wr, strict FROM pragma_table_list('{name}')")))
        elif kind == "index":
            facts.append(("columns", rows(path, f"SELECT * FROM pragma_index_xinfo('{name}')")))
        found[kind, name] = facts
    return found


def test_a_migrated_file_has_the_shape_of_a_new_one(old, tmp_path):
    migrate.open_writer(old).close()
    new = tmp_path / "new.sqlite"
    migrate.open_writer(new).close()
    assert shape(old) == shape(new)
    assert ("trigger", "job_step") in shape(old)


@pytest.fixture
def migrated(old):
    connection = migrate.open_writer(old)
    yield connection
    connection.close()


def test_what_was_illegal_stays_illegal(migrated):
    with pytest.raises(apsw.ConstraintError, match="illegal step"):
        migrated.execute("UPDATE job SET state = 'completed', ended_at = 1 WHERE id = 1")
    with pytest.raises(apsw.ConstraintError, match="never falls"):
        migrated.execute("UPDATE job SET attempt = 0 WHERE id = 2")
    with pytest.raises(apsw.ConstraintError, match="FOREIGN KEY"):
        migrated.execute("DELETE FROM dataset WHERE id = 7")
    with pytest.raises(apsw.ConstraintError, match="CHECK"):
        migrated.execute("UPDATE dataset SET source = 'ftp'")
    with pytest.raises(apsw.ConstraintError, match="UNIQUE"):
        migrated.execute("INSERT INTO dataset VALUES (9, 'host', '', 'u', 'url', '', '', '', 0)")


def test_s3_is_a_source_from_then_on_and_the_counters_go_on(migrated, old):
    migrated.execute("INSERT INTO dataset VALUES (9, 'bucket', '', '', 's3', 'https://s3', 'raw/bucket', '', 0)")
    migrated.execute(
        "INSERT INTO job (dataset_id, kind, path, run_at, size_bytes, created_at) VALUES (9, 'download', 'k', 0, 5, 0)"
    )
    assert_sound(old)


def test_a_file_with_orphans_is_refused_and_stays_as_it_was(version, tmp_path):
    orphan = "PRAGMA foreign_keys = OFF; INSERT INTO job (dataset_id, kind, path, run_at, created_at) VALUES (8, 'download', 'x', 0, 0);"
    path = of_version(version, tmp_path / "queue.sqlite", orphan)
    with pytest.raises(StoreError, match="stays as it was"):
        migrate.open_writer(path)
    assert rows(path, "PRAGMA user_version") == [(version,)]
    assert rows(path, "SELECT 1 FROM sqlite_schema WHERE name = 'input'") == []


async def test_an_old_queue_goes_on_under_the_new_engine(old):
    rig = Rig(old)
    try:
        assert (await rig.put(["s/1", "s/2"])).n_known == 2, "the same dataset, with its old id"
        [job] = await rig.take(now=NOW)
        assert (job.path, job.dataset_id) == ("s/1", 1)
        await rig.finish(job)
    finally:
        rig.close()
    assert_sound(old)


def asked(path):
    with Reader(path) as reader:
        return (
            reader.job_counts(), reader.download_bytes(), reader.datasets(), reader.errors(), reader.engines(),
            reader.hosts(), list(reader.files()), reader.dataset(1), reader.recipes(), reader.bytes_to_fetch(),
        )  # fmt: skip


def test_an_old_queue_can_be_read_without_being_changed(old):
    before = old.read_bytes()
    found = asked(old)
    assert found[4][0].bound == ""
    assert found[5] == []
    assert old.read_bytes() == before
    migrate.open_writer(old).close()
    assert asked(old) == found


def test_who_reads_while_another_migrates_reads_on(old):
    with Reader(old) as reader:
        before = reader.engines()
        migrate.open_writer(old).close()
        assert reader.engines() == before
        assert reader.dataset(1).name == dataset().name
