"""Memory is that of one page and of the slots, however long a listing is and however full the queue.

Commands are measured as the kernel counts them. The count of a child begins with the memory of who started it, so they
are started by a small process and not by this one.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.support.listed_bucket import BUCKET, PREFIX, ROOT, bucket_process, content_of, key_of, number_of

FEW, MANY = 5_000, 50_000
N_FETCHED = 2_000
UNFINISHED = 7
"""The exit code of a run that was drained."""

ENGINE_BYTES = 300_000_000
"""The bar of the plan for `run --workers 128`."""

NOISE_BYTES = 4_000_000
"""By how much a longer listing or queue may differ; 1.4 MB were seen. A list of the 45 000 further keys is 4.8 MB."""

STORE_BYTES = 24_000_000
"""What the queue's page cache takes for 45 000 jobs, 19 MB were seen; at 32 MB it is full (see `store.migrate`)."""

SMALL = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
print(json.dumps({"pid": process.pid}), flush=True)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps({"code": os.waitstatus_to_exitcode(status), "peak_bytes": used.ru_maxrss * 1024}), flush=True)
"""


class Command:
    """One asyncdl."""

    def __init__(self, process):
        self._process = process
        self.pid = self._next()["pid"]

    def _next(self):
        """The next line of JSON; what stands between is for people."""
        while not (line := self._process.stdout.readline()).startswith("{"):
            assert line, "it was killed"
        return json.loads(line)

    def peak_bytes(self, code=0, listen=lambda told: None):
        """Wait for its end. listen: called with each line of JSON that it prints."""
        while "code" not in (line := self._next()):
            listen(line)
        assert line["code"] == code
        return line["peak_bytes"]


@contextmanager
def started(folder, env, *arguments):
    """Start asyncdl in `folder`; it is killed at the end of the block if it still runs."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-I", "-S", "-c", SMALL, sys.executable, "-m", "asyncdl", *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **env}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Command(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def enqueue(folder, env, *flags):
    """Return the peak memory of `asyncdl enqueue`."""
    with started(folder, env, "enqueue", f"s3://{BUCKET}/{PREFIX}", *flags) as command:
        return command.peak_bytes()


def run(folder, env, *, workers, n_files):
    """Return the peak memory of an engine that is drained once n_files are there."""
    n_ended = itertools.count(1)
    with started(folder, env, "run", "--workers", str(workers), "--json") as command:

        def listen(told):
            if told["event"] == "job_ended" and next(n_ended) == n_files:
                os.kill(command.pid, signal.SIGTERM)

        return command.peak_bytes(UNFINISHED, listen)


@pytest.fixture(scope="module")
def hosts():
    """{number of objects: the environment of a client of that host}."""
    with bucket_process(FEW) as few, bucket_process(MANY) as many:
        yield {FEW: few, MANY: many}


@pytest.fixture(scope="module")
def queued(hosts, tmp_path_factory):
    """{number of jobs: (folder of that queue, peak memory of the enqueue)}."""
    folders = {n: tmp_path_factory.mktemp(f"queue-{n}") for n in hosts}
    return {n: (folders[n], enqueue(folders[n], env)) for n, env in hosts.items()}


def test_a_listing_ten_times_as_long_takes_no_more_memory(hosts, tmp_path):
    few, many = (enqueue(tmp_path, env, "--dry-run") for env in hosts.values())
    assert many - few < NOISE_BYTES


def test_a_listing_waits_for_its_end_on_disk_and_not_in_memory(queued):
    few, many = (peak_bytes for _, peak_bytes in queued.values())
    assert many - few < STORE_BYTES


def test_an_engine_takes_no_more_memory_for_a_longer_queue(hosts, queued):
    few, many = (run(folder, hosts[n], workers=8, n_files=500) for n, (folder, _) in queued.items())
    assert many - few < NOISE_BYTES


def test_an_engine_with_128_slots_stays_below_its_bar_and_every_file_is_right(hosts, queued):
    folder, _ = queued[MANY]
    assert run(folder, hosts[MANY], workers=128, n_files=N_FETCHED) < ENGINE_BYTES
    raw = folder / "datasets" / "raw" / BUCKET
    files = {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    assert N_FETCHED <= len(files) < MANY
    assert files == {key_of(n): content_of(n) for n in map(number_of, files)}
