"""A host that lies, breaks and refuses in every way we know: the file comes out right, or its job ends with the class
that names what was wrong; and whatever happens, nothing is left behind and nobody is asked without end.

What an engine cannot know, it cannot hold: where no digest is known, some lies look like the truth (`may_lie`). Then
the size that the host announced holds, and the job does not claim to have checked a digest. A redirect from a public
host to a private address needs a public host: `test_engine_retries` plays one.
"""

import asyncio
import hashlib
import itertools
import json
import os
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import pytest

from asyncdl.core.events import GateClosed, JobEnded, RequestFailed
from asyncdl.core.model import Digest
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.engine.run import Ended
from tests.support.chaos import ChaosServer
from tests.support.chaos_faults import KINDS, STALL_S
from tests.support.engine import Bench

SIZES = {"tiny": 1000, "one segment": 300_000, "several": 2 * SEGMENT_BYTES + (4 << 20)}
MAX_FAILURES = 2
MAX_REQUESTS = 250
MAX_S = 10.0
"""What takes longer has no end; all but the trickles take a fraction of a second."""

N_WAITED = 6
"""So many refusals show that a host that asks for pauses is waited for, and what it costs."""


@dataclass(frozen=True)
class Expected:
    """seen: the classes that events may name; a discarded job's is one of them. once, always: how a job ends when the
    first requests meet the fault, and when all do.

    completed, discarded | either: as may be, honestly | resumed: completed with ranges, else discarded
    vouched: completed where a digest is known, else either | waits: as long as the host wants, uncharged
    parked: back in the queue for later, uncharged | for ranges: discarded, but a tiny file may be had without a range
    """

    seen: str = ""
    once: str = "completed"
    always: str = "completed"
    may_lie: bool = False


def _never(error_class):
    return Expected(error_class, once="discarded", always="discarded")


EXPECTED = {
    # --- lawful, or nobody's business
    Expected(): (
        "Connection: close", "a second answer glued on", "a stray empty line behind the body",
        "100 Continue first", "103 Early Hints first", "no reason phrase", "header names in capitals", "trickle",
        "HTTP/1.0 without a length", "bytes one by one", "no Content-Length", "chunked", "chunked with a trailer",
        "206 of less than was asked", "weak ETags", "no validator", "redirect to a relative place",
        "redirect to another port",
    ),
    Expected("dropped"): (
        "closed behind each answer, unannounced", "Connection: close, and then open", "a 408 glued on, then closed",
    ),
    Expected("range_ignored"): ("200 for a range", "206 without a total"),
    # --- the connection
    Expected("connect", always="discarded"): ("nobody listens", "redirect to a dead port"),
    Expected("dropped", always="discarded"): (
        "closed at connect", "reset at connect", "closed for an answer", "reset for an answer", "head cut by a close",
        "head cut by a reset",
    ),
    Expected("stalled", always="discarded"): ("silent at connect", "silence for an answer", "head cut by silence"),
    Expected("dropped short_body", always="discarded"): ("reset behind the head", "closed behind the head"),
    Expected("dropped short_body", always="resumed"): ("body cut by a close",),
    Expected("dropped short_body", always="either"): ("body cut by a reset", "reset behind each answer"),
    Expected("stalled", always="resumed"): ("body cut by silence",),
    # --- what is no HTTP
    Expected("odd_reply", always="discarded"): (
        "garbage", "another protocol", "no head at all", "status that is no number", "status of two digits",
        "101 Switching Protocols", "204", "799", "redirect without Location",
    ),
    Expected("odd_reply dropped", always="discarded"): ("head without an end", "header line without an end"),
    Expected("odd_reply", always="either"): (
        "head of 100 kB", "header without a colon", "NUL in a header", "line feeds alone",
        "206 without Content-Range", "206 with an odd Content-Range", "multipart/byteranges", "416 to a valid range",
        "416 that names the right size", "206 to no range",
    ),
    # --- lengths
    Expected("odd_reply wrong_length", always="discarded"): (
        "Content-Length that is no number", "Content-Length below zero", "two lengths",
    ),
    Expected("odd_reply wrong_length", always="either"): ("chunked and a length",),
    Expected("odd_reply too_large", always="either"): ("body longer than its length",),
    Expected("wrong_length remote_changed odd_reply short_body digest_mismatch", always="discarded", may_lie=True): (
        "Content-Length too small",
    ),
    Expected("wrong_length remote_changed short_body dropped", always="discarded"): ("Content-Length too large",),
    Expected("short_body remote_changed wrong_length digest_mismatch", always="either", may_lie=True): (
        "no Content-Length and cut",
    ),
    Expected("short_body dropped", always="either"): ("chunked without an end",),
    Expected("short_body dropped odd_reply stalled", always="either"): ("chunked and broken",),
    # --- ranges; a small file may be asked for without one, and then the truth is told
    Expected("range_shifted", always="for ranges"): ("206 that begins elsewhere",),
    Expected("range_shifted odd_reply", always="either"): ("206 whose range runs backwards",),
    Expected("range_shifted remote_changed wrong_length too_large digest_mismatch", always="for ranges", may_lie=True): (
        "206 of more than was asked",
    ),
    Expected("remote_changed range_shifted wrong_length odd_reply", always="either"): (
        "206 with a wrong total", "416 that names another size",
    ),
    # --- refusals
    _never("http_4xx"): ("400", "451"),
    _never("unauthorized"): ("401",),
    _never("forbidden"): ("403",),
    _never("not_found"): ("404",),
    _never("gone"): ("410",),
    Expected("http_408", always="discarded"): ("408",),
    Expected("http_5xx", always="discarded"): ("500", "502", "504", "520"),
    Expected("remote_changed", always="discarded"): ("304", "412"),
    Expected("rate_limited", always="discarded"): (
        "429", "429 with another RateLimit", "429 with an odd Retry-After",
    ),
    Expected("http_503 rate_limited", always="discarded"): ("503",),
    Expected("rate_limited", always="waits"): (
        "429 for seconds", "429 for no time", "429 until a date", "429 with a spent RateLimit",
    ),
    Expected("http_503 rate_limited", always="waits"): ("503 for seconds",),
    Expected("rate_limited", once="parked", always="parked"): ("429 for an hour",),
    # --- content
    Expected("digest_mismatch", always="discarded", may_lie=True): ("byte flipped",),
    Expected("encoded", always="discarded"): ("gzip in spite of identity",),
    Expected("html_instead remote_changed", always="discarded", may_lie=True): ("HTML in place of the data",),
    Expected("remote_changed", always="vouched"): ("ETag of each answer its own",),
    Expected("remote_changed digest_mismatch wrong_length", always="either"): (
        "new ETag, new size", "new ETag, same size",
    ),
    Expected("digest_mismatch", always="either", may_lie=True): ("same ETag, other bytes",),
    # --- redirects
    Expected("redirect_loop", always="discarded"): ("redirect in a circle",),
    _never("redirect_scheme"): (
        "redirect to another scheme", "redirect to a file", "redirect with a password", "redirect that cannot be read",
    ),
    Expected("url_expired", always="discarded"): ("signed URL that has expired",),
}  # fmt: skip
OF_KIND = {name: expected for expected, names in EXPECTED.items() for name in names}


@dataclass(frozen=True)
class Case:
    """known: what the job knows beforehand, a digest (and a size), a size or nothing."""

    kind: str
    script: str
    ranges: bool
    size: str
    known: str

    def __str__(self):
        return f"{self.kind}-{self.script}-{'ranges' if self.ranges else 'no ranges'}-{self.size}-{self.known} known"

    @property
    def end(self):
        expected = OF_KIND[self.kind]
        end = expected.once if self.script == "once" else expected.always
        if end == "resumed":
            return "completed" if self.ranges else "discarded"
        if end == "for ranges":
            return "either" if self.size == "tiny" else "discarded"
        if end == "vouched":
            return "completed" if self.known == "digest" else "either"
        return end

    @property
    def may_lie(self):
        return OF_KIND[self.kind].may_lie and self.known != "digest"

    @property
    def seen(self):
        more = set() if self.ranges else {"range_ignored"}
        return set(OF_KIND[self.kind].seen.split()) | more

    def hits(self, n):
        """Whether the n-th request meets the fault: of several segments not the first, which tells what the file is."""
        first = 1 if self.size != "several" or KINDS[self.kind].early else 2
        return self.script == "always" or first <= n < first + 2

    @property
    def stall_timeout_s(self):
        stall_s = KINDS[self.kind].stall_s
        return stall_s / 3 if self.script == "always" and stall_s == STALL_S else stall_s


def cases():
    """Every kind x once and always x with and without ranges x three sizes. A digest is known for half of them; where
    it decides, they are run with each knowledge. One size in three is in each run, the others are slow.
    """
    sizes = list(SIZES)
    for number, (name, expected) in enumerate(OF_KIND.items()):
        decides = expected.may_lie or expected.always == "vouched" or KINDS[name].early
        combinations = itertools.product(("once", "always"), (True, False), sizes)
        for at, (script, ranges, size) in enumerate(combinations):
            is_slow = size != sizes[(number + ranges + (script == "always")) % len(sizes)]
            turn = ("digest", "nothing", "digest", "size")[(at + number) % 4]
            for known in ("digest", "size", "nothing") if decides else (turn,):
                case = Case(name, script, ranges, size, known)
                yield pytest.param(case, id=str(case), marks=[pytest.mark.slow] * is_slow)


@cache
def versions(size_bytes):
    """What is served, and what was before: not one byte of the two is the same."""
    content = random.Random(size_bytes).randbytes(size_bytes)
    return content, content.translate(bytes(255 - value for value in range(256)))


@cache
def digest_of(size_bytes):
    return Digest("sha256", hashlib.sha256(versions(size_bytes)[0]).hexdigest())


def facts_of(case):
    size_bytes = SIZES[case.size]
    return {
        "nothing": (None, None),
        "size": (size_bytes, None),
        "digest": (size_bytes, digest_of(size_bytes)),
    }[case.known]


@pytest.fixture
def short_pauses(monkeypatch):
    """Waits a hundredth of what they are or less, two attempts where there are ten; what is decided stays the same.

    Nobody speaks TLS here, and to load the machine's authorities takes an engine a third of these tests' time.
    """
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setattr("asyncdl.core.retry.SEGMENT_BASE_DELAY_S", 1e-4)
    monkeypatch.setattr("asyncdl.core.retry.BASE_DELAY_S", 1e-3)
    monkeypatch.setattr("asyncdl.core.retry.MAX_FAILURES", MAX_FAILURES)
    monkeypatch.setattr("asyncdl.engine.scheduler.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("asyncdl.net.gates.BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr("asyncdl.net.gates.BACKOFF_MAX_S", 0.02)


async def run_to_its_end(case, bench, server):
    """Run the engine until the job is settled, or has shown that it waits."""
    kind = KINDS[case.kind]

    def listen(event):
        bench.told(event)
        if kind.at == "port" and case.script == "once" and isinstance(event, RequestFailed):
            server.listen()

    async with (
        asyncio.timeout(MAX_S),
        bench.running(listen=listen, only=frozenset({"download"}), stall_timeout_s=case.stall_timeout_s) as ended,
    ):
        if case.end == "waits":
            await server.met(N_WAITED)
            bench.engine.drain()
        elif case.end == "parked":
            await bench.told.wait_for(JobEnded, outcome="parked")
            bench.engine.drain()
        storm = asyncio.create_task(server.asked_too_often.wait())
        await asyncio.wait({ended, storm}, return_when=asyncio.FIRST_COMPLETED)
        storm.cancel()
        if not ended.done():
            bench.engine.stop()
        drained = case.end in ("waits", "parked")
        assert await ended == Ended("drained" if drained else "empty"), "the server was asked without end"


def assert_ended_honestly(case, bench, server):
    row, final = bench.row("a.bin"), bench.file("a.bin", "host")
    if case.end in ("waits", "parked"):
        assert (row["state"], row["failures"]) == ("available", 0), "a pause costs nothing"
        told = [*bench.told.of(GateClosed), *bench.told.of(RequestFailed)]
        assert any(event.wait_s > 0 for event in told), "who is refused again and again makes a pause"
        if case.end == "parked":
            assert row["run_at"] > time.time() + 3000
        return
    allowed = {"completed", "discarded"} if case.end == "either" else {case.end}
    if case.may_lie:
        allowed |= {"completed"}
    assert row["state"] in allowed, row["error_class"]
    if row["state"] == "discarded":
        assert row["error_class"] in case.seen
        assert not final.exists()
    else:
        assert_right(case, json.loads(row["result"])["checks"], final.read_bytes())
        assert bench.leftovers() == []


def assert_right(case, checks, content):
    truth, older = versions(SIZES[case.size])
    if case.known == "digest":
        assert checks == ["size", "digest"]
        assert content == truth
    elif case.may_lie:
        assert checks == ["size"] * (case.known == "size")
        assert len(content) in server_sizes(case)
    elif KINDS[case.kind].early:
        assert content in (truth, older, older[:-7]), "one version of it, never a mixture"
    else:
        assert content == truth


def server_sizes(case):
    """The sizes that a lie may announce; a size that is known is not given up for one."""
    truth = SIZES[case.size]
    return {truth} if case.known == "size" else {truth, truth - truth // 8, truth + 100, len("<html>log in</html>")}


def assert_bounded(case, bench, server):
    n_attempts = len(bench.told.of(JobEnded))
    if case.script == "once":
        assert server.n_faults <= 3
        assert server.n_requests <= server.n_faults + (40 if case.size == "several" else 16)
        assert n_attempts <= 3
    else:
        assert n_attempts <= 4 * MAX_FAILURES


def descriptors():
    """{number: what it is} of what is open in this process."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
    return found


async def assert_nothing_left(before, tasks):
    """Closed sockets and ended tasks go with the loop's next turns. The host is still there: it would close for all."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while len(descriptors()) > len(before) or asyncio.all_tasks() > tasks:
                await asyncio.sleep(0)
    assert sorted(descriptors().values()) == sorted(before.values())
    assert asyncio.all_tasks() <= tasks


@pytest.mark.parametrize("case", list(cases()))
async def test_whatever_a_host_does_the_file_is_right_or_the_job_says_what_was_wrong(
    case, tmp_path, short_pauses, monkeypatch
):
    if case.end != "parked":
        monkeypatch.setattr("asyncdl.core.reply.MAX_RETRY_AFTER_S", 0.03)
    content, older = versions(SIZES[case.size])
    bench = Bench(tmp_path)
    async with ChaosServer(
        content, KINDS[case.kind], older=older, ranges=case.ranges, hits=case.hits, max_requests=MAX_REQUESTS
    ) as server:
        await bench.enqueue_known(server.url, {"a.bin": facts_of(case)})
        before, tasks = descriptors(), asyncio.all_tasks()
        await run_to_its_end(case, bench, server)
        await assert_nothing_left(before, tasks)
    assert_ended_honestly(case, bench, server)
    seen = {event.error_class for event in bench.told.events if isinstance(event, (RequestFailed, JobEnded))}
    assert seen - {None} <= case.seen
    assert_bounded(case, bench, server)
    assert bench.rows("SELECT count(*) FROM job WHERE state = 'running'") == [(0,)]


def test_every_kind_of_fault_has_its_expectation():
    assert set(OF_KIND) == set(KINDS)
    assert sum(map(len, EXPECTED.values())) == len(OF_KIND) >= 40
