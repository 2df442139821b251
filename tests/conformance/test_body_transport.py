"""The rules of the own transport: slabs, pauses, the watchdog, kept connections, addresses, what is left to the other.

`with_bodies` looks after each of them whether every slab is back.
"""

import asyncio
import gc
import random
import socket
import time

import pytest

from asyncdl.errors import TransferError
from asyncdl.net import body_transport, dial
from asyncdl.net.connection import Connection
from asyncdl.net.transport import Request
from tests.conformance.stages import n_free, with_bodies
from tests.support.lying_server import LyingServer
from tests.support.replies import Reply, redirect

SMALL = bytes(range(256)) * 40
BIG = random.Random(3).randbytes(3 << 20)
TINY = {"n_slots": 1, "budget_bytes": 128 << 10}
"""Two slabs of 64 KiB."""


def whole(body, n_pieces=1, **options):
    step = -(-len(body) // n_pieces)
    return Reply(200, {}, tuple(body[at : at + step] for at in range(0, len(body), step)), **options)


async def get(transport, url, **options):
    async with transport.open(Request(url, **options)) as response:
        return await response.read(1 << 30)


async def until(condition):
    """Let everybody else run until `condition` holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def the_busy(transport):
    (connection,) = transport._busy
    return connection


# --- bodies and slabs


@pytest.mark.parametrize("body", [SMALL, BIG], ids=["small", "big"])
@pytest.mark.parametrize("budget_bytes", [128 << 10, 8 << 20])
async def test_a_body_over_tls_is_right_under_either_loop(tls, trusted, body, budget_bytes):
    async with (
        LyingServer([whole(body)] * 2, tls=tls) as server,
        with_bodies(budget_bytes=budget_bytes, n_slots=1) as transport,
    ):
        for _ in range(2):
            assert await get(transport, f"https://localhost:{server.port}/x") == body
    assert {heard.connection for heard in server.heard} == {0}


async def test_get_buffer_returns_a_memoryview_whatever_is_awaited(monkeypatch):
    seen = set()
    real = Connection.get_buffer

    def get_buffer(self, sizehint):
        found = real(self, sizehint)
        seen.add((type(found), len(found) > 0))
        return found

    monkeypatch.setattr(Connection, "get_buffer", get_buffer)
    async with LyingServer([whole(BIG)]) as server, with_bodies(**TINY) as transport:
        assert await get(transport, f"{server.url}/x") == BIG
    assert seen == {(memoryview, True)}


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_slow_reader_pauses_the_reading_and_loses_nothing(tls, trusted, scheme):
    came = bytearray()
    async with (
        LyingServer([whole(BIG)], tls=tls if scheme == "https" else None) as server,
        with_bodies(**TINY) as transport,
        transport.open(Request(f"{scheme}://localhost:{server.port}/x")) as response,
    ):
        connection = the_busy(transport)
        async for block in response.blocks():
            await until(lambda: connection._is_paused or connection.n_left_bytes == 0)
            assert connection.last_at is None, "the peer is not to blame"
            came += block
            assert len(block) <= 64 << 10
        assert n_free(transport) >= 1
    assert came == BIG


async def test_who_waits_for_a_slab_is_not_blamed_and_goes_on_when_there_is_one():
    async with LyingServer([whole(BIG)] * 2) as server, with_bodies(**TINY) as transport:
        async with transport.open(Request(f"{server.url}/x")) as first:
            blocks = first.blocks()
            await anext(blocks)
            await until(lambda: n_free(transport) == 0)
            second = asyncio.create_task(get(transport, f"{server.url}/y"))
            await until(lambda: len(transport._slabs._waiting) == 2)
            (starved,) = (one for one in transport._busy if one.n_left_bytes == len(BIG))
            assert starved._is_paused
            assert starved.last_at is None
            await blocks.aclose()
        assert await second == BIG


async def test_many_connections_share_two_slabs():
    async with LyingServer(lambda _heard: whole(BIG[: 300 << 10])) as server, with_bodies(**TINY) as transport:
        bodies = await asyncio.gather(*(get(transport, f"{server.url}/{n}") for n in range(24)))
    assert all(body == BIG[: 300 << 10] for body in bodies)


async def test_a_reader_who_waits_gets_what_a_slow_connection_has_so_far():
    async with (
        LyingServer([whole(SMALL, length_bytes=1 << 20, ends="stall")]) as server,
        with_bodies(stall_timeout_s=1000) as transport,
        transport.open(Request(f"{server.url}/x")) as response,
    ):
        waiting = asyncio.ensure_future(anext(response.blocks()))
        connection = the_busy(transport)
        await until(lambda: connection._news is not None and connection.n_left_bytes == (1 << 20) - len(SMALL))
        transport._watch()
        assert await waiting == SMALL
        assert the_busy(transport).error is None


async def test_what_was_lent_is_not_given_back_when_the_peer_sends_too_much():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG + b"and more"
    async with LyingServer([answer]) as server, with_bodies(n_slots=1, budget_bytes=8 << 20) as transport:
        n_slabs = n_free(transport)
        async with transport.open(Request(f"{server.url}/x")) as response:
            came = bytearray()
            async for block in response.blocks():
                assert n_free(transport) < n_slabs
                if not came:
                    await until(lambda: the_busy(transport).n_left_bytes == 0 or the_busy(transport)._is_paused)
                came += block
        assert came == BIG


# --- every end gives every slab back (with_bodies looks), and every descriptor


async def end_early(transport, url):
    async with transport.open(Request(url)) as response:
        async for _ in response.blocks():
            break


async def end_by_error(transport, url):
    with pytest.raises(ZeroDivisionError):
        async with transport.open(Request(url)) as response:
            async for _ in response.blocks():
                raise ZeroDivisionError


async def end_by_cancel(transport, url):
    task = asyncio.create_task(get(transport, url))
    await until(lambda: transport._busy and the_busy(transport)._n_slab > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def end_by_fault(transport, url):
    with pytest.raises(TransferError):
        await get(transport, url)


async def end_by_cancel_before_the_head(transport, url):
    task = asyncio.create_task(get(transport, url))
    await until(lambda: transport._busy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


LONG = len(BIG) + 1


@pytest.mark.parametrize(
    ("end", "reply"),
    [
        (get, whole(BIG)),
        (end_early, whole(BIG)),
        (end_by_error, whole(BIG)),
        (end_by_cancel, whole(SMALL, length_bytes=LONG, ends="stall")),
        (end_by_cancel_before_the_head, Reply(silent=True, ends="stall")),
        (end_by_fault, Reply(silent=True, ends="fin")),
        (end_by_fault, whole(BIG, length_bytes=LONG, ends="fin")),
        (end_by_fault, whole(BIG, length_bytes=LONG, ends="reset")),
        (end_by_fault, whole(BIG, length_bytes=LONG, ends="stall")),
    ],
    ids=lambda value: value.__name__ if callable(value) else f"{value.ends}{'-silent' * value.silent}",
)
async def test_nothing_is_left_open_after_any_end(n_descriptors, end, reply):

    async def play():
        async with LyingServer([reply] * 3) as server:
            async with with_bodies(**TINY) as transport:
                for _ in range(3):
                    await end(transport, f"{server.url}/x")
            await server.gone()

    await play()  # what the loop itself opens once
    n_before = n_descriptors()
    await play()
    await until(lambda: n_descriptors() <= n_before)


async def test_who_is_cancelled_while_waiting_for_a_slab_takes_none(n_descriptors):
    async with LyingServer([whole(BIG)] * 3) as server, with_bodies(**TINY) as transport:
        async with transport.open(Request(f"{server.url}/x")) as first:
            blocks = first.blocks()
            await anext(blocks)
            await until(lambda: n_free(transport) == 0)
            second = asyncio.create_task(get(transport, f"{server.url}/y"))
            await until(lambda: len(transport._slabs._waiting) == 2)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            await blocks.aclose()
        assert n_free(transport) == 2
        assert await get(transport, f"{server.url}/z") == BIG


async def test_close_waits_until_the_sockets_are_gone(tls, trusted, n_descriptors):
    connections = set()

    async def play(server):
        async with with_bodies() as transport:
            await asyncio.gather(*(get(transport, f"https://localhost:{server.port}/{n}") for n in range(5)))
            connections.update(connection for idle in transport._idle.values() for connection, _since in idle)
            await end_early(transport, f"https://localhost:{server.port}/big")
        assert len(connections) == 5
        assert all(connection.closed.is_set() for connection in connections)
        connections.clear()
        await server.gone()

    async with LyingServer(lambda heard: whole(BIG if heard.target == "/big" else SMALL), tls=tls) as server:
        await play(server)
        n_before = n_descriptors()
        await play(server)
        await until(lambda: n_descriptors() <= n_before)


@pytest.mark.parametrize(
    "reply",
    [
        whole(SMALL, length_bytes=LONG, ends="reset"),
        Reply(silent=True, ends="reset"),
        Reply(silent=True, ends="fin"),
    ],
)
async def test_a_fault_met_by_a_cancellation_is_no_noise(caplog, reply):
    """Whatever comes first of the two: no exception is left in a Future that nobody reads."""

    async def cancelled_in_time(transport, url):
        task = asyncio.create_task(get(transport, url))
        await until(lambda: transport._busy)
        connection = the_busy(transport)
        fail = connection._fail
        connection._fail = lambda error: (fail(error), task.cancel())
        with pytest.raises(asyncio.CancelledError):
            await task

    async with LyingServer([reply]) as server, with_bodies() as transport:
        await cancelled_in_time(transport, f"{server.url}/x")
    gc.collect()
    assert caplog.records == []


# --- dialing


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_cancelled_dial_leaks_no_socket(scheme, n_descriptors):
    """Cancelled after any number of steps; the server says nothing, so that a TLS handshake stays where it is."""

    async def play(server):
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        async with with_bodies() as transport:
            transport._dialer._known["127.0.0.1", server.port, False] = (time.monotonic(), [address])
            for n_steps in range(20):
                task = asyncio.create_task(get(transport, f"{scheme}://127.0.0.1:{server.port}/x"))
                for _ in range(n_steps):
                    await asyncio.sleep(0)
                if n_steps == 19:
                    await until(lambda: server.n_connections > 0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        await server.gone()

    async with LyingServer(lambda _heard: Reply(silent=True, ends="stall")) as server:
        await play(server)
        n_before = n_descriptors()
        await play(server)
        await until(lambda: n_descriptors() <= n_before)


async def test_an_address_that_refuses_is_passed_over(names):
    async with LyingServer([whole(SMALL)], host="127.0.0.3") as server, with_bodies() as transport:
        names["many.test"] = ["127.0.0.2", "127.0.0.3"]
        assert await get(transport, f"http://many.test:{server.port}/x") == SMALL


async def test_an_address_that_hangs_is_raced(names, monkeypatch):
    monkeypatch.setattr(dial, "RACE_DELAY_S", 0.01)
    async with LyingServer([whole(SMALL)] * 3, host="127.0.0.3") as server, with_bodies() as transport:
        names["many.test"] = ["192.0.2.1", "127.0.0.3"]  # TEST-NET-1 (RFC 5737): nobody answers
        real = transport._dialer._connect
        seen = []

        async def connect(origin, make, addresses):
            seen.append([address[4][0] for address in addresses])
            return await real(origin, make, addresses)

        monkeypatch.setattr(transport._dialer, "_connect", connect)
        for _ in range(3):
            async with transport.open(Request(f"http://many.test:{server.port}/x")) as response:
                assert await response.read(1 << 20) == SMALL
                the_busy(transport).cut(TransferError("dropped", "the next needs another connection"))
                transport._dialer.praise("127.0.0.3")
                transport._dialer._failures["127.0.0.3"] = -1
    assert [first for first, _ in seen] == ["192.0.2.1", "192.0.2.1", "127.0.0.3"]


async def test_an_address_that_failed_twice_is_tried_last(names):
    replies = [whole(SMALL, length_bytes=LONG, ends="fin")] * 3
    async with (
        LyingServer(replies, host="127.0.0.2") as bad,
        LyingServer([whole(SMALL)] * 2, host="127.0.0.3", port=bad.port) as good,
        with_bodies() as transport,
    ):
        names["many.test"] = ["127.0.0.2", "127.0.0.3"]
        url = f"http://many.test:{bad.port}/x"
        for _ in range(2):
            with pytest.raises(TransferError, match="early"):
                await get(transport, url)
        assert await get(transport, url) == SMALL
        assert (len(bad.heard), len(good.heard)) == (2, 1)


async def test_a_success_makes_up_for_a_failure(names):
    broken = whole(SMALL, length_bytes=LONG, ends="fin")
    async with (
        LyingServer([broken, whole(SMALL), broken, whole(SMALL)], host="127.0.0.2") as server,
        LyingServer([whole(SMALL)], host="127.0.0.3", port=server.port) as other,
        with_bodies() as transport,
    ):
        names["many.test"] = ["127.0.0.2", "127.0.0.3"]
        url = f"http://many.test:{server.port}/x"
        for is_broken in (True, False, True, False):
            if is_broken:
                with pytest.raises(TransferError, match="early"):
                    await get(transport, url)
            else:
                assert await get(transport, url) == SMALL
        assert (len(server.heard), len(other.heard)) == (4, 0)


async def test_a_name_is_looked_up_once_for_all_who_wait(names, monkeypatch):
    looked_up = []
    real = dial._look_up

    async def look_up(key):
        looked_up.append(key)
        await asyncio.sleep(0)  # others come while it lasts
        return await real(key)

    monkeypatch.setattr(dial, "_look_up", look_up)
    names["one.test"] = ["127.0.0.1"]
    async with LyingServer(lambda _heard: whole(SMALL)) as server, with_bodies() as transport:
        await asyncio.gather(*(get(transport, f"http://one.test:{server.port}/{n}") for n in range(20)))
    assert len(looked_up) == 1


# --- the watchdog


async def test_a_stall_is_found_though_nobody_waits_for_the_body():
    async with (
        LyingServer([whole(BIG[: 100 << 10], length_bytes=LONG, ends="stall")]) as server,
        with_bodies(**TINY) as transport,
        transport.open(Request(f"{server.url}/x")) as response,
    ):
        blocks = response.blocks()
        came = bytes(await anext(blocks))
        await server.left.wait()  # the reader holds a block and asks for no other: as long as a write takes
        came += bytes(await anext(blocks))
        with pytest.raises(TransferError) as caught:
            await anext(blocks)
        assert caught.value.error_class == "stalled"
        assert came == BIG[: 100 << 10]


async def test_a_watchdog_that_comes_late_itself_blames_nobody():
    async with (
        LyingServer([Reply(silent=True, ends="stall")]) as server,
        with_bodies(stall_timeout_s=1000) as transport,
    ):
        task = asyncio.create_task(get(transport, f"{server.url}/x"))
        await until(lambda: transport._busy and the_busy(transport).last_at is not None)
        connection = the_busy(transport)
        connection.last_at -= 2000
        transport._watched_at -= 2000
        transport._watch()
        assert connection.error is None
        transport._watch()
        assert connection.error.error_class == "stalled"
        with pytest.raises(TransferError):
            await task


async def test_a_whole_body_that_is_read_late_is_no_stall():
    async with (
        LyingServer([whole(SMALL)] * 2) as server,
        with_bodies() as transport,
    ):
        async with transport.open(Request(f"{server.url}/x")) as response:
            connection = the_busy(transport)
            await until(lambda: connection.n_left_bytes == 0)
            assert connection.last_at is None
            transport._watch()
            assert await response.read(1 << 20) == SMALL
        assert await get(transport, f"{server.url}/x") == SMALL
        assert [heard.connection for heard in server.heard] == [0, 0]


async def test_a_trickle_of_a_head_is_a_stall():
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X-More: y\r\n")
            try:
                async with asyncio.timeout(0.05):
                    await reader.read(1)
                    break
            except TimeoutError:
                pass
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, with_bodies() as transport:
        with pytest.raises(TransferError) as caught:
            await get(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
    assert caught.value.error_class == "stalled"


async def test_after_a_stall_the_kept_connections_to_that_address_are_not_used():
    """Two are kept, one of them hangs: what comes next goes over a third."""

    def answer(heard):
        if heard.target == "/hang":
            return whole(SMALL, length_bytes=LONG, ends="stall")
        return whole(SMALL)

    async with LyingServer(answer) as server, with_bodies() as transport:
        async with transport.open(Request(f"{server.url}/a")):
            assert await get(transport, f"{server.url}/b") == SMALL
        with pytest.raises(TransferError, match="nothing"):
            await get(transport, f"{server.url}/hang")
        assert await get(transport, f"{server.url}/c") == SMALL
    by_target = {heard.target: heard.connection for heard in server.heard}
    assert {by_target["/a"], by_target["/b"]} == {0, 1}
    assert by_target["/c"] == 2


# --- kept connections


async def test_a_connection_is_used_again_and_again():
    async with LyingServer([whole(SMALL), redirect("/y"), Reply(204), Reply(304), whole(BIG)]) as server:
        async with with_bodies() as transport:
            for _ in range(5):
                await get(transport, f"{server.url}/x")
        assert {heard.connection for heard in server.heard} == {0}


async def test_the_small_body_of_a_refusal_does_not_cost_the_connection():
    async with LyingServer([whole(SMALL, 10, gap_s=0.001), whole(SMALL)]) as server, with_bodies() as transport:
        async with transport.open(Request(f"{server.url}/x")):
            pass
        assert await get(transport, f"{server.url}/x") == SMALL
    assert [heard.connection for heard in server.heard] == [0, 0]


@pytest.mark.parametrize("ends", ["fin", "stall"])
async def test_a_small_body_that_nobody_wants_and_never_ends_is_no_fault(ends):
    replies = [redirect("/y"), whole(b"abc", length_bytes=1000, ends=ends)]
    async with LyingServer(replies) as server, with_bodies() as transport:
        for _ in range(2):
            async with transport.open(Request(f"{server.url}/x")) as response:
                assert response.status < 400


async def test_a_refusal_that_is_raised_inside_keeps_the_connection():
    async with LyingServer([Reply(404, {}, (b"gone",)), whole(SMALL)]) as server, with_bodies() as transport:
        with pytest.raises(ZeroDivisionError):
            async with transport.open(Request(f"{server.url}/x")):
                await until(lambda: the_busy(transport).n_left_bytes == 0)
                raise ZeroDivisionError
        assert await get(transport, f"{server.url}/x") == SMALL
    assert [heard.connection for heard in server.heard] == [0, 0]


async def test_a_kept_connection_that_breaks_when_it_is_used_is_replaced_and_nobody_is_blamed():
    replies = [whole(SMALL), Reply(silent=True, ends="reset"), whole(SMALL)]
    async with LyingServer(replies) as server, with_bodies() as transport:
        for _ in range(2):
            assert await get(transport, f"{server.url}/x") == SMALL
        assert transport._dialer._failures.total() == 0
    assert [heard.connection for heard in server.heard] == [0, 0, 1]


async def test_a_fresh_connection_that_breaks_is_not_tried_again():
    async with LyingServer([Reply(silent=True, ends="fin")] * 2) as server, with_bodies() as transport:
        with pytest.raises(TransferError, match="dropped"):
            await get(transport, f"{server.url}/x")
        assert len(server.heard) == 1


async def test_bytes_behind_the_body_end_the_connection_and_not_the_body():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    async with LyingServer([answer, whole(SMALL)]) as server, with_bodies() as transport:
        assert await get(transport, f"{server.url}/x") == b"abc"
        assert await get(transport, f"{server.url}/x") == SMALL
    assert [heard.connection for heard in server.heard] == [0, 1]


async def test_what_comes_over_an_idle_connection_is_nobodys_answer():
    gate = asyncio.Event()

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, with_bodies() as transport:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        assert await get(transport, url) == b"abc"
        (((kept, _since),),) = transport._idle.values()
        gate.set()
        await kept.closed.wait()
        assert await get(transport, url) == b"abc"


async def test_a_connection_that_was_idle_for_long_is_closed(monkeypatch):
    monkeypatch.setattr(body_transport, "KEEP_ALIVE_S", -1.0)
    async with LyingServer([whole(SMALL)]) as server, with_bodies() as transport:
        assert await get(transport, f"{server.url}/x") == SMALL
        transport._watch()
        assert not any(transport._idle.values())
        await server.left.wait()


async def test_a_connection_that_the_peer_ends_by_header_is_not_kept():
    async with LyingServer([Reply(200, {"Connection": "close"}, (SMALL,)), whole(SMALL)]) as server:
        async with with_bodies() as transport:
            for _ in range(2):
                assert await get(transport, f"{server.url}/x") == SMALL
        assert [heard.connection for heard in server.heard] == [0, 1]


# --- what is left to the other transport


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_body_without_a_length_is_left_to_the_other_transport_and_the_origin_remembered(framing):
    async with LyingServer([whole(BIG, framing=framing)] * 3) as server, with_bodies() as transport:
        for _ in range(2):
            assert await get(transport, f"{server.url}/x") == BIG
    assert len(server.heard) == 3, "asked twice the first time, once the second"


@pytest.mark.parametrize("status", [301, 404, 416, 429, 503])
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_refusal_without_a_length_says_nothing_of_the_origin(framing, status):
    async with LyingServer([Reply(status, {}, (b"no",), framing=framing), whole(SMALL)]) as server:
        async with with_bodies() as transport:
            async with transport.open(Request(f"{server.url}/x")) as response:
                assert response.status == status
            assert await get(transport, f"{server.url}/x") == SMALL
            assert not transport._odd_until
        assert len(server.heard) == 2


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_why_access_is_refused_is_read_though_it_comes_without_a_length(framing, status):
    answers = [Reply(status, {}, (b"<Code>Expired", b"Token</Code>"), framing=framing)] * 2 + [whole(SMALL)]
    async with LyingServer(answers) as server, with_bodies() as transport:
        async with transport.open(Request(f"{server.url}/x")) as response:
            assert response.status == status
            assert await response.read(1000) == b"<Code>ExpiredToken</Code>"
        assert not transport._odd_until, "it says nothing of the origin's other bodies"
        assert await get(transport, f"{server.url}/x") == SMALL
        assert len(server.heard) == 3


async def test_the_late_body_of_a_refusal_without_a_length_is_no_part_of_the_next_answer():
    """It comes when the next request does, if that goes out over the same connection."""
    asked = []

    async def talk(reader, writer):
        connection = len(set(asked))
        while not reader.at_eof():
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            if connection == 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SMALL) + SMALL)
            elif asked:
                writer.write(b"2\r\nno\r\n0\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n")
            asked.append(connection)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, with_bodies() as transport:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        async with transport.open(Request(url)) as response:
            assert response.status == 404
        assert await get(transport, url) == SMALL
        assert transport._dialer._failures.total() == 0, "nobody is to blame"
    assert asked == [0, 1]


async def test_a_head_that_only_a_lenient_parser_reads_is_left_to_the_other_transport():
    async with LyingServer([b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"] * 2) as server, with_bodies() as transport:
        assert await get(transport, f"{server.url}/x") == b"hi"
        assert not transport._odd_until


async def test_a_method_that_is_not_get_is_left_to_the_other_transport():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    async with LyingServer([head]) as server, with_bodies() as transport:
        async with transport.open(Request(f"{server.url}/x", method="HEAD")) as response:
            assert response.headers["content-length"] == "10"
            assert await response.read(100) == b""
        assert server.heard[0].method == "HEAD"


# --- heads


async def test_header_names_come_in_any_case():
    answer = b"HTTP/1.1 206 P\r\ncONTENT-lENGTH: 2\r\nETAG: x\r\ncontent-RANGE: bytes 0-1/2\r\n\r\nhi"
    async with (
        LyingServer([answer]) as server,
        with_bodies() as transport,
        transport.open(Request(f"{server.url}/x")) as response,
    ):
        assert dict(response.headers) == {"content-length": "2", "etag": "x", "content-range": "bytes 0-1/2"}
        assert await response.read(10) == b"hi"


@pytest.mark.parametrize("n_bytes", [3000, 4096 - 38, 20_000, 60_000])
async def test_a_head_of_up_to_64_kib_is_read(n_bytes):
    async with (
        LyingServer([Reply(200, {"X-Long": "x" * n_bytes}, (SMALL,))]) as server,
        with_bodies() as transport,
        transport.open(Request(f"{server.url}/x")) as response,
    ):
        assert len(response.headers["x-long"]) == n_bytes
        assert await response.read(1 << 20) == SMALL


async def test_interim_answers_are_passed_over_however_they_come():
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for at in range(len(answer)):
            writer.write(answer[at : at + 1])
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, with_bodies() as transport:
        assert await get(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x") == b"hi"


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/x y", {}),
        ("/x\r\nX-Evil: 1", {}),
        ("/x\tz", {}),
        ("/x?\x00", {}),
        ("/x", {"X-Odd": "a\r\nX-Evil: 1"}),
        ("/x", {"X-Odd": "a\nb"}),
        ("/x", {"X-Odd\r\nX-Evil": "1"}),
        ("/x", {"X-Odd": "\0"}),
    ],
)
async def test_what_would_end_a_line_of_the_request_is_refused(target, headers):
    async with LyingServer() as server, with_bodies() as transport:
        with pytest.raises(TransferError) as caught:
            await get(transport, server.url + target, headers=headers)
        assert caught.value.error_class == "odd_reply"
        assert "Evil" not in caught.value.message
        assert server.heard == []
