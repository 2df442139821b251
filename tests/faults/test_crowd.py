"""128 slots, a host that refuses every tenth request and drops every twentieth: all files right, hardly a request more.

A crowd that is sent away must not come back as a crowd: what one refusal says holds for all slots, and a dropped
connection costs its own request and no other.
"""

import hashlib
import itertools
import random
from collections import Counter

import pytest

from asyncdl.core.model import Digest
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.engine.run import Ended
from tests.support.chaos import ChaosServer, Kind
from tests.support.engine import Bench

N_SMALL, N_BIG = 300, 2
N_SLOTS = 128


def content_of(path):
    """Of each file its own, so that none can be taken for another; a few are of several segments."""
    kind, number = path.removesuffix(".bin").split("-")
    size_bytes = 2 * SEGMENT_BYTES + 5 if kind == "big" else 2000 + 10 * int(number)
    return random.Random(path).randbytes(size_bytes)


FILES = {f"small-{n:03d}.bin": content_of(f"small-{n:03d}.bin") for n in range(N_SMALL)}
FILES |= {f"big-{n}.bin": content_of(f"big-{n}.bin") for n in range(N_BIG)}
N_IDEAL = N_SMALL + 3 * N_BIG
"""One request for each small file and three segments of the others: a request that fails costs one more at the least,
so that 1.18 times this is the best there is."""


class Crowded:
    """Every tenth answer is a 429, every twentieth a drop, between the head and the end of the body in turn.

    n_asked: requests by path; n_refused, n_dropped: what the host did to them.
    """

    def __init__(self, retry_after):
        self._retry_after = itertools.cycle(retry_after)
        self._cuts = itertools.cycle((0, 1, 2))
        self.n_refused = self.n_dropped = 0
        self.n_asked = Counter()

    async def __call__(self, talk):
        path = talk.target.lstrip("/")
        self.n_asked[path] += 1
        content = FILES[path]
        if talk.n % 10 == 0:
            self.n_refused += 1
            await talk.send(talk.status(429, Retry_After=next(self._retry_after)))
        elif talk.n % 20 == 5:
            self.n_dropped += 1
            answer = talk.truth(content)
            cut = next(self._cuts)
            if cut:
                await talk.send(answer, upto=len(answer.body) * (cut - 1) // 2)
            talk.close()
        else:
            await talk.send(talk.truth(content))


def turns():
    slow = pytest.mark.slow
    yield pytest.param(("1", "0"), id="in a second or at once")
    yield pytest.param(("0",), id="at once", marks=slow)
    yield pytest.param(("1",), id="in a second", marks=slow)


@pytest.mark.parametrize("retry_after", list(turns()))
async def test_a_crowd_that_is_refused_and_dropped_asks_hardly_more_than_it_must(tmp_path, retry_after):
    bench, crowded = Bench(tmp_path), Crowded(retry_after)
    facts = {path: (len(data), Digest("sha256", hashlib.sha256(data).hexdigest())) for path, data in FILES.items()}
    async with ChaosServer(b"", Kind("crowded", crowded), hits=lambda _: True, max_requests=2 * N_IDEAL) as server:
        await bench.enqueue_known(server.url, facts)
        assert await bench.run(workers=N_SLOTS, only=frozenset({"download"})) == Ended("empty")
    for path, data in FILES.items():
        assert bench.file(path, "host").read_bytes() == data, path
    assert set(bench.states().values()) == {"completed"}
    assert bench.leftovers() == []
    assert crowded.n_refused >= N_IDEAL // 10
    assert crowded.n_dropped >= N_IDEAL // 20
    assert server.n_requests <= 1.3 * N_IDEAL
    assert bench.told.outcomes() == {("completed", None): len(FILES)}, "neither a pause nor a drop costs an attempt"
