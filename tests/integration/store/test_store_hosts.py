"""What one engine learned of hosts, the next one knows, unless it is too old or the clock was set back."""

import pytest

from asyncdl.core.hops import ClosedGate, GateName
from asyncdl.core.model import Traffic
from asyncdl.store.hosts import PACE_KEPT_S, Hosts, RememberedPace
from asyncdl.store.jobs import Beat
from asyncdl.store.reader import HostRow, Reader
from tests.integration.store.rig import NOW, rows

API, CDN = GateName("hub.test", "api"), GateName("cdn.test")


@pytest.fixture
def hosts(rig):
    return Hosts(rig.writer)


async def test_the_last_pace_of_a_host_is_remembered(hosts):
    await hosts.remember_pace("b.test", hint=8, cap=None, now=NOW)
    await hosts.remember_pace("a.test", hint=4, cap=6, now=NOW)
    await hosts.remember_pace("b.test", hint=16, cap=32, now=NOW + 1)
    assert await hosts.paces(now=NOW + 1) == [RememberedPace("a.test", 4, 6), RememberedPace("b.test", 16, 32)]
    await hosts.remember_pace("b.test", hint=16, cap=None, now=NOW + 2)
    assert (await hosts.paces(now=NOW + 2))[1] == RememberedPace("b.test", 16, None)


@pytest.mark.parametrize(("now", "known"), [(NOW + PACE_KEPT_S - 1, 1), (NOW + PACE_KEPT_S, 0), (NOW - 1, 0)])
async def test_a_pace_that_is_a_day_old_or_of_the_future_is_not_believed(hosts, now, known):
    await hosts.remember_pace("a.test", hint=4, cap=6, now=NOW)
    assert len(await hosts.paces(now=now)) == known


async def test_what_is_too_old_is_forgotten_and_the_rest_stays(hosts, rig):
    await hosts.remember_pace("old.test", hint=4, cap=6, now=NOW)
    await hosts.remember_pace("late.test", hint=4, cap=6, now=NOW + 9)
    await hosts.remember_pace("new.test", hint=4, cap=6, now=NOW + PACE_KEPT_S)
    assert rows(rig.path, "SELECT name FROM host ORDER BY name") == [("late.test",), ("new.test",)]
    await hosts.close_gate(API, until=NOW + 10, now=NOW)
    await hosts.close_gate(CDN, until=NOW + 20, now=NOW + 9)
    await hosts.close_gate(GateName("other.test"), until=NOW + 20, now=NOW + 10)
    assert rows(rig.path, "SELECT host FROM gate ORDER BY host") == [("cdn.test",), ("other.test",)]


async def test_a_gate_is_known_until_it_opens(hosts):
    await hosts.close_gate(API, until=NOW + 60, now=NOW)
    await hosts.close_gate(CDN, until=NOW + 10, now=NOW)
    assert await hosts.closed_gates(now=NOW) == [ClosedGate(CDN, NOW + 10), ClosedGate(API, NOW + 60)]
    assert await hosts.closed_gates(now=NOW + 10) == [ClosedGate(API, NOW + 60)]
    await hosts.close_gate(API, until=NOW + 90, now=NOW + 20)
    assert await hosts.closed_gates(now=NOW + 60) == [ClosedGate(API, NOW + 90)]


async def test_a_gate_that_closed_in_the_future_is_not_believed(hosts):
    await hosts.close_gate(API, until=NOW + 60, now=NOW)
    assert await hosts.closed_gates(now=NOW - 86400) == []


async def test_status_sees_what_is_known_of_each_host(hosts, rig):
    await hosts.remember_pace("hub.test", hint=4, cap=6, now=NOW)
    await hosts.close_gate(API, until=NOW + 60, now=NOW)
    await hosts.close_gate(GateName("hub.test", "pages"), until=NOW + 30, now=NOW)
    await hosts.close_gate(CDN, until=NOW + 10, now=NOW)
    with Reader(rig.path) as reader:
        assert reader.hosts() == [
            HostRow("cdn.test", None, None, None, NOW + 10),
            HostRow("hub.test", 4, 6, NOW, NOW + 60),
        ]


async def test_a_beat_says_what_bounds_the_engine_until_it_ends(rig):
    def bounds():
        return rows(rig.path, "SELECT bound FROM engine")

    jobs = rig.jobs("me")
    await jobs.start_engine(identity="i", version="0", workers=8, pid=1, now=NOW)
    with Reader(rig.path) as reader:
        assert reader.engines()[0].bound == ""
        await jobs.beat(Beat(per_s=1.0, n_requests=2, bound="disk"), now=NOW)
        assert reader.engines()[0].bound == "disk"
    await jobs.end_engine(now=NOW)
    assert bounds() == [("",)]


async def test_what_an_engine_does_with_hosts_is_there_until_it_ends(rig):
    def traffic(host, n_open, first_byte_s=None):
        return Traffic(host, n_open, 8, 1.5, first_byte_s, 0)

    for owner in ("me", "you"):
        jobs = rig.jobs(owner)
        await jobs.start_engine(identity="", version="0", workers=1, pid=1, now=NOW)
        await jobs.beat(Beat(per_s=1.0, n_requests=2), [traffic("a", 1), traffic("b", 2)], now=NOW)
    await rig.jobs("me").beat(Beat(per_s=1.0, n_requests=2), [traffic("b", 3, 0.25)], now=NOW)
    with Reader(rig.path) as reader:
        assert [(row.host, row.owner, row.n_open, row.first_byte_s) for row in reader.traffic()] == [
            ("a", "me", 1, None), ("a", "you", 1, None), ("b", "me", 3, 0.25), ("b", "you", 2, None),
        ]  # fmt: skip
        await rig.jobs("me").end_engine(now=NOW)
        assert {row.owner for row in reader.traffic()} == {"you"}
