"""Whatever is asked of the queue in whatever order, it holds what a small model holds, and its counters a scan's sums."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncdl.core.model import Job
from asyncdl.core.retry import MAX_CRASHES
from asyncdl.errors import LeaseLostError
from asyncdl.store import place
from asyncdl.store.enqueue import Enqueue, Enqueued
from asyncdl.store.jobs import GiveBack
from tests.integration.store.rig import LEASE_S, NOW, Rig, artifact, assert_sound, dataset, recipe, rows

PATHS = ["s/1", "s/2", "s/3", "t/4"]
DEAD = ("discarded", "cancelled")
Key = tuple[str, str]  # kind, path


@dataclass
class Row:
    state: str = "available"
    run_at: float = NOW
    attempt: int = 0
    crashes: int = 0
    owner: str = ""
    lease_until: float = 0.0

    def revive(self, now: float) -> None:
        self.state, self.run_at, self.crashes = "available", now, 0


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.rig = Rig(self.folder / "queue.sqlite")
        self.now = NOW
        self.model: dict[Key, Row] = {}
        self.leases: list[Job] = []
        self.n_logged = 0
        self.doomed = (f"doomed {n}" for n in count())

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.rig.close()
            self.runner.close()
            shutil.rmtree(self.folder)

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def row(self, job: Job) -> Row:
        return self.model[job.kind, job.path]

    def holds(self, job: Job) -> bool:
        row = self.row(job)
        return row.state == "running" and (row.owner, row.attempt) == (job.owner, job.attempt)

    def say(self, job: Job, coroutine) -> bool:
        """Run what `job`'s holder says; return whether it may be said. A stale lease must be refused."""
        if self.holds(job):
            self.run(coroutine)
            return True
        with pytest.raises(LeaseLostError):
            self.run(coroutine)
        return False

    @rule(listed=st.dictionaries(st.sampled_from(PATHS), st.booleans()), tokenize=st.booleans(), ok=st.booleans())
    def enqueue(self, listed: dict[str, bool], tokenize: bool, ok: bool) -> None:
        """listed: path -> is missing. Not ok: the listing fails before its end."""

        async def act() -> Enqueued | None:
            enqueue = Enqueue(self.rig.writer, dataset(), now=self.now)
            for path, missing in listed.items():
                await enqueue.stage([(path[0], artifact(path), missing)])
            return await enqueue.finish(priority=5, recipe=recipe() if tokenize else None) if ok else None

        told = self.run(act())
        if ok:
            assert told == self.model_enqueue(listed, tokenize)

    def model_enqueue(self, listed: dict[str, bool], tokenize: bool) -> Enqueued:
        n_downloads = n_later = 0
        for path, missing in listed.items():
            row = self.model.get(("download", path))
            if row is None:
                self.model["download", path] = Row(run_at=self.now)
            elif row.state in DEAD or (row.state == "completed" and missing):
                row.revive(self.now)
            else:
                continue
            n_downloads += 1
        for path, missing in listed.items():
            if missing or self.model["download", path].state != "completed":
                continue
            for kind in ("verify", "tokenize"):
                row = self.model.get((kind, path))
                if row is not None and row.state in DEAD:
                    row.revive(self.now)
                    n_later += 1
        for path, missing in listed.items():
            verify = self.model.get(("verify", path))
            is_new = tokenize and not missing and ("tokenize", path) not in self.model
            if is_new and verify is not None and verify.state == "completed":
                self.model["tokenize", path] = Row(run_at=self.now)
                n_later += 1
        return Enqueued(n_new=n_downloads + n_later, n_known=len(listed) - n_downloads)

    @rule(kind=st.sampled_from(["download", "verify", "tokenize"]), n=st.integers(0, 3), owner=st.sampled_from("AB"))
    def claim(self, kind: str, n: int, owner: str) -> None:
        due = {
            key for key, row in self.model.items()
            if key[0] == kind and row.state == "available" and row.run_at <= self.now
        }  # fmt: skip
        jobs = self.run(self.rig.take(n, owner=owner, kind=kind, now=self.now))
        assert len(jobs) == min(n, len(due))
        for job in jobs:
            row = self.row(job)
            assert (job.kind, job.path) in due
            assert job.attempt == row.attempt + 1
            row.state, row.owner, row.attempt, row.lease_until = "running", owner, job.attempt, self.now + LEASE_S
        self.leases += jobs

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def complete(self, data) -> None:
        job = data.draw(st.sampled_from(self.leases))
        if self.say(job, self.rig.finish(job, now=self.now)):
            row = self.row(job)
            row.state, row.crashes = "completed", 0
            if job.kind == "download":
                child = self.model.setdefault(("verify", job.path), Row(run_at=self.now))
                if child.state in (*DEAD, "completed"):
                    child.revive(self.now)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), done=st.integers(0, 100))
    def progress(self, data, done: int) -> None:
        job = data.draw(st.sampled_from(self.leases))
        jobs = self.rig.jobs(job.owner)
        if self.say(job, jobs.progress(job, had=f"0-{done}", validator=None, size_bytes=200, done=done)):
            self.row(job).crashes = 0

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["retry", "parked", "released", "crashed"]),
        wait=st.sampled_from([0, 90]),
    )
    def give_back(self, data, outcome, wait: int) -> None:
        job = data.draw(st.sampled_from(self.leases))
        back = GiveBack(outcome=outcome, run_at=self.now + wait, failures=1, error_class="timeout", error_text="x")
        if self.say(job, self.rig.jobs(job.owner).give_back(job, back, now=self.now)):
            row = self.row(job)
            self.n_logged += 1
            if outcome == "crashed" and row.crashes + 1 >= MAX_CRASHES:
                row.state = "discarded"
            else:
                row.state, row.run_at, row.crashes = "available", back.run_at, row.crashes + (outcome == "crashed")

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def discard(self, data) -> None:
        job = data.draw(st.sampled_from(self.leases))
        jobs = self.rig.jobs(job.owner)
        if self.say(job, jobs.discard(job, now=self.now, error_class="gone", error_text="x")):
            self.row(job).state = "discarded"
            self.n_logged += 1

    @rule(owner=st.sampled_from("AB"))
    def renew(self, owner: str) -> None:
        held = [job for job in self.leases if job.owner == owner and self.holds(job)]
        told = self.run(self.rig.jobs(owner).renew(now=self.now, lease_s=LEASE_S))
        assert told == {job.id: job.attempt for job in held}
        for job in held:
            self.row(job).lease_until = self.now + LEASE_S

    @rule(seconds=st.sampled_from([1, 30, 70]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(owner=st.sampled_from("AB"))
    def rescue_expired(self, owner: str) -> None:
        lost = [
            row for row in self.model.values()
            if row.state == "running" and row.owner != owner and row.lease_until < self.now - 5
        ]  # fmt: skip
        assert self.run(self.rig.jobs(owner).rescue(now=self.now, grace_s=5)) == len(lost)
        self.n_logged += len(lost)
        for row in lost:
            row.crashes += 1
            row.state, row.run_at = ("discarded" if row.crashes >= MAX_CRASHES else "available"), self.now

    @precondition(lambda self: place.identity(1) is not None)
    @rule(n=st.integers(1, 3), kind=st.sampled_from(["download", "verify"]))
    def an_engine_dies(self, n: int, kind: str) -> None:
        """An engine of before the last boot claims, and is found dead before its lease ends."""
        owner = next(self.doomed)
        boot, *rest = str(place.identity(1)).split(" ")
        identity = " ".join(["0" * len(boot), *rest])
        jobs = self.rig.jobs(owner)
        self.run(jobs.start_engine(identity=identity, version="0", workers=1, pid=1, now=self.now))
        self.claim(kind, n, owner)
        held = [row for row in self.model.values() if row.state == "running" and row.owner == owner]
        for row in held:
            row.state, row.run_at = "available", self.now
        self.n_logged += len(held)
        expired = [
            row for row in self.model.values() if row.state == "running" and row.lease_until < self.now - 5
        ]  # fmt: skip
        for row in expired:
            row.crashes += 1
            row.state, row.run_at = ("discarded" if row.crashes >= MAX_CRASHES else "available"), self.now
        self.n_logged += len(expired)
        assert self.run(self.rig.jobs("judge").rescue(now=self.now, grace_s=5)) == len(held) + len(expired)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), verb=st.sampled_from(["cancel", "revive"]))
    def change_state(self, data, verb) -> None:
        kind, path = key = data.draw(st.sampled_from(sorted(self.model)))
        row = self.model[key]
        [(id_,)] = rows(self.rig.path, f"SELECT id FROM job WHERE kind = '{kind}' AND path = '{path}'")
        may = row.state in (("available", "running", "discarded") if verb == "cancel" else DEAD)
        assert self.run(self.rig.jobs().change_state(verb, [id_], now=self.now)) == may
        if may and verb == "cancel":
            row.state = "cancelled"
        elif may:
            row.revive(self.now)

    @invariant()
    def the_queue_is_the_model(self) -> None:
        if not hasattr(self, "rig"):
            return
        held = rows(self.rig.path, "SELECT kind, path, state, attempt, crashes, coalesce(owner, '') FROM job")
        assert {(kind, path): tuple(rest) for kind, path, *rest in held} == {
            key: (row.state, row.attempt, row.crashes, row.owner if row.state == "running" else "")
            for key, row in self.model.items()
        }
        assert rows(self.rig.path, "SELECT count(*) FROM attempt") == [(self.n_logged,)]
        assert_sound(self.rig.path)


QueueMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestQueue = QueueMachine.TestCase
