"""The table of core/states, the schema and the chart in the docs say the same, and the database enforces it."""

import re
from itertools import product
from pathlib import Path

import apsw
import pytest

from asyncdl.core.states import TRANSITIONS, State, legal_steps
from asyncdl.store import migrate, sql

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "ARCHITECTURE.md"
ILLEGAL = sorted(
    (before, after)
    for before, after in product(State, State)
    if before is not after and (before, after) not in legal_steps()
)


def test_the_schema_knows_exactly_the_states():
    check = re.search(r"CHECK \((state = '.*?)\)", sql.script("schema.sql"), re.DOTALL)
    assert check is not None
    assert set(re.findall(r"state = '(\w+)'", check[1])) == set(State)


def test_the_trigger_allows_exactly_the_steps_of_the_table():
    trigger = re.search(r"CREATE TRIGGER job_step.*?END;", sql.script("schema.sql"), re.DOTALL)
    assert trigger is not None
    assert set(re.findall(r"(\w+)>(\w+)", trigger[0])) == {(str(a), str(b)) for a, b in legal_steps()}


def test_the_chart_in_the_docs_is_the_table():
    assert ARCHITECTURE.exists(), "docs/ARCHITECTURE.md with the chart of a job's life is missing"
    lines = re.findall(r"^\s*(\w+) +--(\w+)--> +(\w+)", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines, "docs/ARCHITECTURE.md holds no lines such as `available --claim--> running`"
    assert {(a, e, b) for a, e, b in lines} == {
        (str(before), str(event), str(after)) for (before, event), after in TRANSITIONS.items()
    }


@pytest.fixture
def queue(tmp_path):
    connection = migrate.open_writer(tmp_path / "queue.sqlite")
    connection.execute("INSERT INTO dataset VALUES (1, 'a', 'b', '', 'hub', 'o', 'raw', 'text', 0)")
    yield connection
    connection.close()


def put_job(connection, state):
    lease = {"owner": "me", "until": 1.0} if state == "running" else {"owner": None, "until": None}
    connection.execute(
        """INSERT INTO job (id, dataset_id, kind, path, state, run_at, created_at, ended_at, owner, lease_until, attempt)
        VALUES (1, 1, 'download', 'p', :state, 0, 0, 0, :owner, :until, 7)""",
        lease | {"state": state},
    )


def move_job(connection, state):
    lease = {"owner": "me", "until": 1.0} if state == "running" else {"owner": None, "until": None}
    connection.execute(
        "UPDATE job SET state = :state, owner = :owner, lease_until = :until WHERE id = 1", lease | {"state": state}
    )


@pytest.mark.parametrize(("before", "after"), ILLEGAL)
def test_the_database_refuses_an_illegal_step(queue, before, after):
    put_job(queue, before)
    with pytest.raises(apsw.ConstraintError, match="illegal step"):
        move_job(queue, after)
    assert queue.execute("SELECT state FROM job").fetchall() == [(before,)]


@pytest.mark.parametrize(("before", "after"), sorted(legal_steps()))
def test_the_database_takes_a_legal_step(queue, before, after):
    put_job(queue, before)
    move_job(queue, after)
    assert queue.execute("SELECT state FROM job").fetchall() == [(after,)]


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE job SET state = 'available running'",
        "UPDATE job SET attempt = 6",
        "UPDATE job SET owner = 'me'",
        "UPDATE job SET lease_until = 1.0",
        "UPDATE job SET priority = 10",
        "UPDATE job SET done_bytes = -1",
        "UPDATE job SET recipe_id = 1",
        "UPDATE job SET state = 'cancelled', ended_at = NULL",
    ],
)
def test_the_database_refuses_a_row_that_means_nothing(queue, wrong):
    put_job(queue, "available")
    with pytest.raises(apsw.ConstraintError):
        queue.execute(wrong)
