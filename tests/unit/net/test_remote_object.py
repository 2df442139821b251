"""One object behind a redirect: found once for all its segments, found again once for all, and never in the wrong place."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from asyncdl.core.hops import EXPIRY_MARGIN_S, MAX_HOPS, GateName
from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Body, Pinned
from asyncdl.core.secret import Secret
from asyncdl.errors import TransferError
from asyncdl.net import client as client_module
from asyncdl.net import remote as remote_module
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from asyncdl.net.remote import RemoteObject
from tests.support.replies import Reply, redirect
from tests.support.scripted_transport import ScriptedTransport, ranged, site

CONTENT = bytes(range(256)) * 64
SIZE = len(CONTENT)
SEGMENTS = [ByteRange(at, at + SIZE // 16) for at in range(0, SIZE, SIZE // 16)]
HUB, CDN = "https://1.1.1.1", "https://8.8.8.8"  # literals: no test of this module asks a name server
FILE = f"{HUB}/resolve/x"
PINNED = Pinned(SIZE, '"v1"')


def signed(life_s=3600.0, path="/x", n=1):
    return f"{CDN}{path}?Expires={int(time.time() + life_s)}&Signature=s{n}"


class World:
    """A RemoteObject, the script behind it, and what was asked."""

    def __init__(self, pages, *, url=FILE, token=None, **options):
        self.transport = ScriptedTransport(
            site(pages), **{k: options.pop(k) for k in ["private_names"] if k in options}
        )
        self.gates = Gates()
        credentials = Credentials(HUB, Secret(token) if token else None)
        self.remote = RemoteObject(Client(self.transport, credentials, self.gates, **options), url)

    async def fetch(self, asked=SEGMENTS[0], pinned=PINNED):
        async with self.remote.open(asked, pinned) as (body, response):
            content = await response.read(1 << 20)
        return body, content

    async def fetch_all(self):
        found = await asyncio.gather(*(self.fetch(one) for one in SEGMENTS))
        return b"".join(content for _, content in found)

    def n_asked(self, prefix):
        return sum(url.startswith(prefix) for url in self.transport.urls)

    async def error(self, **options):
        with pytest.raises(TransferError) as caught:
            await self.fetch(**options)
        assert self.transport.n_open == 0, "an answer was left open"
        return caught.value.error_class


def behind_redirect(**options):
    return World({FILE: redirect(signed()), f"{CDN}/x": ranged(CONTENT)}, **options)


# the way there


async def test_the_answer_is_what_was_asked_for_and_can_be_read():
    world = World({FILE: ranged(CONTENT)})
    body, content = await world.fetch(ByteRange(100, 200))
    assert body == Body(100, 200, PINNED)
    assert content == CONTENT[100:200]
    assert world.transport.asked[0].headers["Range"] == "bytes=100-199"
    assert (world.transport.n_open, world.transport.n_dropped) == (0, 0)


async def test_the_whole_is_asked_for_without_a_range():
    world = World({FILE: ranged(CONTENT)})
    assert await world.fetch(None) == (Body(0, SIZE, PINNED), CONTENT)
    assert "Range" not in world.transport.asked[0].headers


async def test_a_redirect_is_followed_and_remembered():
    world = behind_redirect()
    for one in SEGMENTS[:3]:
        assert (await world.fetch(one))[1] == CONTENT[one.start : one.stop]
    assert (world.n_asked(HUB), world.n_asked(CDN)) == (1, 3)
    assert world.remote.host == "1.1.1.1", "the pace of a CDN is that of the host that leads to it"


async def test_many_segments_at_once_follow_it_once():
    world = behind_redirect()
    assert await world.fetch_all() == CONTENT
    assert (world.n_asked(HUB), world.n_asked(CDN)) == (1, len(SEGMENTS))


async def test_many_segments_at_once_follow_every_hop_of_a_chain_once():
    world = World({FILE: redirect("/renamed", 307), f"{HUB}/renamed": redirect("/cache/x?y=%2F", 307), f"{HUB}/cache/x": ranged(CONTENT)})  # fmt: skip
    assert await world.fetch_all() == CONTENT
    assert world.transport.urls[:3] == [FILE, f"{HUB}/renamed", f"{HUB}/cache/x?y=%2F"]
    assert (world.n_asked(FILE), world.n_asked(f"{HUB}/renamed")) == (1, 1)


async def test_nobody_waits_for_the_first_body_from_a_signed_url():
    reached, let_go = asyncio.Event(), asyncio.Event()

    async def held(request):
        if not reached.is_set():
            reached.set()
            await let_go.wait()
        return ranged(CONTENT)(request)

    world = World({FILE: redirect(signed()), f"{CDN}/x": held})
    stuck = asyncio.create_task(world.fetch(SEGMENTS[0]))
    await reached.wait()
    assert (await world.fetch(SEGMENTS[1]))[1] == CONTENT[SEGMENTS[1].start : SEGMENTS[1].stop]
    assert not stuck.done()
    let_go.set()
    assert (await stuck)[1] == CONTENT[: SEGMENTS[0].stop]


async def test_once_the_place_has_answered_nobody_waits_for_anybody():
    reached, let_go = asyncio.Event(), asyncio.Event()

    async def held(request):
        if request.headers["Range"] == SEGMENTS[1].header:
            reached.set()
            await let_go.wait()
        return ranged(CONTENT)(request)

    world = World({FILE: held})
    await world.fetch()
    stuck = asyncio.create_task(world.fetch(SEGMENTS[1]))
    await reached.wait()
    await world.fetch(SEGMENTS[2])
    let_go.set()
    await stuck


async def test_who_gives_up_while_finding_it_holds_up_nobody():
    held, reached = asyncio.Event(), asyncio.Event()

    async def hub(_request):
        if not reached.is_set():
            reached.set()
            await held.wait()
        return redirect(signed())

    world = World({FILE: hub, f"{CDN}/x": ranged(CONTENT)})
    first = asyncio.create_task(world.fetch())
    await reached.wait()
    second = asyncio.create_task(world.fetch(SEGMENTS[1]))
    first.cancel()
    assert (await second)[1] == CONTENT[SEGMENTS[1].start : SEGMENTS[1].stop]


async def test_a_failure_behind_the_redirect_does_not_ask_the_hub_again():
    replies = iter([Reply(503), TransferError("dropped", "gone"), TransferError("stalled", "silent")])
    world = World(
        {FILE: redirect(signed()), f"{CDN}/x": lambda request: next(replies, None) or ranged(CONTENT)(request)}
    )
    world.gates.refused = lambda *_: None
    assert [await world.error() for _ in range(3)] == ["http_503", "dropped", "stalled"]
    await world.fetch()
    assert (world.n_asked(HUB), world.n_asked(CDN)) == (1, 4)


async def test_a_body_of_another_version_is_refused_and_its_connection_given_up():
    world = World({FILE: ranged(CONTENT, etag='"v2"')})
    assert await world.error() == "remote_changed"
    assert world.transport.n_dropped == 1


async def test_who_leaves_early_drops_the_connection():
    world = behind_redirect()
    async with world.remote.open(SEGMENTS[0], PINNED):
        assert world.transport.n_open == 1
    assert (world.transport.n_open, world.transport.n_dropped) == (0, 1)


# signed URLs end


class Renewing:
    """A hub whose n-th signature is `s<n>`, and a CDN that takes only the newest one."""

    def __init__(self, life_s=3600.0):
        self.life_s = life_s
        self.n_given = 0
        self.is_valid = lambda request: f"Signature=s{self.n_given}" in request.url

    def pages(self):
        return {FILE: self.give, f"{CDN}/x": self.serve}

    def give(self, _request):
        self.n_given += 1
        return redirect(signed(self.life_s, n=self.n_given))

    def serve(self, request):
        return ranged(CONTENT)(request) if self.is_valid(request) else Reply(403)


async def test_a_url_that_is_refused_is_renewed_once_for_all_segments():
    hub = Renewing()
    world = World(hub.pages())
    await world.fetch()
    hub.n_given = 7  # what was given is not taken any more
    assert await world.fetch_all() == CONTENT
    assert world.n_asked(HUB) == 2


async def test_a_late_refusal_of_the_old_url_does_not_take_the_new_one_back():
    hub = Renewing()
    reached, let_go = asyncio.Event(), asyncio.Event()

    async def late(request):
        if "Signature=s1" in request.url and not reached.is_set():
            reached.set()
            await let_go.wait()
            return Reply(403)
        return hub.serve(request)

    world = World(hub.pages() | {f"{CDN}/x": late})
    slow = asyncio.create_task(world.fetch())
    await reached.wait()
    hub.n_given = 7
    await world.fetch(SEGMENTS[1])
    let_go.set()
    await slow
    assert world.n_asked(HUB) == 2


async def test_a_renewed_url_that_is_refused_too_ends_the_try():
    hub = Renewing()
    hub.is_valid = lambda _request: False
    world = World(hub.pages())
    assert await world.error() == "url_expired"
    assert (world.n_asked(HUB), world.n_asked(CDN)) == (2, 2)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=time.time())
    for module in (remote_module, client_module):
        if hasattr(module, "time"):
            monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


async def test_a_url_near_its_end_is_renewed_without_asking_for_a_refusal(clock):
    hub = Renewing()
    world = World(hub.pages())
    await world.fetch()
    clock.now += hub.life_s - EXPIRY_MARGIN_S + 2
    assert await world.fetch_all() == CONTENT
    assert (world.n_asked(HUB), world.n_asked(CDN)) == (2, 1 + len(SEGMENTS))


@pytest.mark.parametrize("life_s", [EXPIRY_MARGIN_S / 2, 0.0, -1e6])
async def test_a_url_that_has_ended_by_our_clock_when_it_comes_is_used_all_the_same(life_s):
    world = World(Renewing(life_s).pages())
    async with asyncio.timeout(5):
        assert await world.fetch_all() == CONTENT
    assert world.n_asked(HUB) == 1


async def test_a_url_that_has_ended_by_every_clock_is_asked_for_twice_and_no_more():
    hub = Renewing(-1e6)
    hub.is_valid = lambda _request: False
    world = World(hub.pages())
    async with asyncio.timeout(5):
        assert await world.error() == "url_expired"
    assert world.n_asked(HUB) == 2


# where it must not lead


def chain(n_hops):
    pages = {FILE: redirect(f"{HUB}/1"), f"{HUB}/{n_hops}": ranged(CONTENT)}
    return pages | {f"{HUB}/{n}": redirect(f"{HUB}/{n + 1}") for n in range(1, n_hops)}


async def test_a_chain_of_just_the_most_hops_is_followed():
    world = World(chain(MAX_HOPS))
    assert (await world.fetch())[1] == CONTENT[: SEGMENTS[0].stop]


@pytest.mark.parametrize(
    "pages", [chain(MAX_HOPS + 1), {FILE: redirect(FILE)}, {FILE: redirect("/y"), f"{HUB}/y": redirect(FILE)}, {FILE: redirect(f"{CDN}/x?sig=1"), f"{CDN}/x": redirect(f"{CDN}/x?sig=2")}]
)  # fmt: skip
async def test_a_loop_ends_and_does_so_each_time(pages):
    world = World(pages)
    for n in (1, 2):
        assert await world.error() == "redirect_loop"
        assert len(world.transport.asked) == n * (MAX_HOPS + 1)


async def test_no_redirect_from_https_to_http():
    world = World({FILE: redirect("http://8.8.8.8/x")})
    assert await world.error() == "redirect_scheme"
    assert world.transport.urls == [FILE]


INSIDE = ["http://169.254.169.254/latest", "http://127.0.0.1/x", "http://[::ffff:10.0.0.1]/x", "http://localhost/x", "http://inside.test/x", "http://127.1/x"]  # fmt: skip
OUTSIDE = "http://1.1.1.1/resolve/x"


@pytest.mark.parametrize("location", INSIDE)
async def test_a_public_host_does_not_lead_inside(location):
    world = World({OUTSIDE: redirect(location)}, url=OUTSIDE, private_names=["inside.test"])
    assert await world.error() == "private_address"
    assert world.transport.urls == [OUTSIDE]


async def test_a_public_host_does_not_lead_inside_by_a_detour_either():
    world = World({OUTSIDE: redirect("http://8.8.8.8/y"), "http://8.8.8.8/y": redirect(INSIDE[0])}, url=OUTSIDE)
    assert await world.error() == "private_address"
    assert [request.guarded for request in world.transport.asked] == [False, True]


@pytest.mark.parametrize("location", INSIDE)
async def test_who_allows_it_is_led_inside(location):
    world = World({OUTSIDE: redirect(location), location: ranged(CONTENT)}, url=OUTSIDE, allow_private=True)
    assert (await world.fetch())[1]


async def test_who_starts_inside_may_stay_inside():
    world = World(
        {"http://10.0.0.1/x": redirect("http://10.0.0.2/y"), "http://10.0.0.2/y": ranged(CONTENT)},
        url="http://10.0.0.1/x",
    )
    assert (await world.fetch())[1]


@pytest.mark.parametrize(
    "location", ["http://[bad/", "//[", "http://hub.test:99999/", "ftp://8.8.8.8/x", "https://u:p@8.8.8.8/"]
)
async def test_a_location_that_cannot_be_read_is_a_refusal_not_a_crash(location):
    assert await World({FILE: redirect(location)}).error() == "redirect_scheme"


async def test_a_public_host_on_the_way_does_not_lead_back_inside():
    start = "http://10.0.0.1/x"
    pages = {start: redirect("http://8.8.8.8/y"), "http://8.8.8.8/y": redirect("http://10.0.0.2/z")}
    assert await World(pages, url=start).error() == "private_address"


# credentials


async def test_the_token_goes_to_the_hub_and_not_behind_it():
    world = behind_redirect(token="hf_canarycanary")
    await world.fetch()
    assert [request.headers.get("Authorization") for request in world.transport.asked] == [
        "Bearer hf_canarycanary",
        None,
    ]


async def test_the_token_goes_along_within_its_origin():
    world = World({FILE: redirect("../cache/x", 307), f"{HUB}/cache/x": ranged(CONTENT)}, token="hf_canarycanary")
    await world.fetch()
    assert [request.headers.get("Authorization") for request in world.transport.asked] == ["Bearer hf_canarycanary"] * 2


async def test_the_token_does_not_come_back_by_a_detour_it_did_not_take():
    world = World({FILE: redirect(f"{CDN}/x"), f"{CDN}/x": redirect(f"{HUB}:8443/y"), f"{HUB}:8443/y": ranged(CONTENT)}, token="hf_canarycanary")  # fmt: skip
    await world.fetch()
    assert ["Authorization" in request.headers for request in world.transport.asked] == [True, False, False]


# gates


async def test_a_closed_gate_raises_without_a_request():
    world = behind_redirect()
    world.gates.refused(GateName("1.1.1.1", "resolvers"), 60.0)
    assert await world.error() == "rate_limited"
    assert world.transport.asked == []


async def test_a_closed_gate_of_the_cdn_does_not_cost_a_request_to_the_hub():
    world = behind_redirect()
    await world.fetch()
    world.gates.refused(GateName("8.8.8.8"), 60.0)
    assert await world.error() == "rate_limited"
    assert len(world.transport.asked) == 2


@pytest.mark.parametrize(
    ("reply", "wait_s"),
    [(Reply(429, {"Retry-After": "60"}), 60.0), (Reply(503, {"Retry-After": "60"}), 60.0), (Reply(429, {"RateLimit": '"resolvers";r=0;t=59'}), 60.0), (Reply(429), 1.0)],
)  # fmt: skip
async def test_a_refusal_closes_the_gate_for_everybody(reply, wait_s):
    world = World({FILE: reply})
    assert await world.error() in ("rate_limited", "http_503")
    assert wait_s - 5.0 < world.gates.wait_s(GateName("1.1.1.1", "resolvers")) <= wait_s
    assert await world.error() == "rate_limited"
    assert len(world.transport.asked) == 1


# who is public


@pytest.mark.parametrize(
    ("addresses", "must_guard"),
    [
        (["93.184.215.14"], True),
        (["10.0.0.1"], False),
        (["10.0.0.1", "fd00::1"], False),
        (["93.184.215.14", "127.0.0.1"], True),
        ([], True),
        (None, True),
    ],
)
async def test_redirects_are_guarded_where_they_begin_in_public(monkeypatch, addresses, must_guard):
    def getaddrinfo(*_, **__):
        if addresses is None:
            raise OSError("no such name")
        return [(2, 1, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    client = Client(ScriptedTransport([]), Credentials(HUB, None), Gates())
    assert await client.must_guard("https://hub.test/x") is must_guard
    addresses = ["127.0.0.1"] if must_guard else ["93.184.215.14"]
    assert await client.must_guard("https://hub.test/y") is must_guard, "a host is looked up once"


# permissions by other names


@pytest.mark.parametrize("query", ["token=t", "hdnea=exp=1~hmac=a", "se=2026&sp=r&sv=2024&sr=b"])
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refusal_where_a_redirect_led_to_another_origin_asks_for_a_fresh_url(query, status):
    locations = iter([f"{CDN}/x?{query}&n=1", f"{CDN}/x?{query}&n=2"])
    pages = {
        FILE: lambda _request: redirect(next(locations)),
        f"{CDN}/x?{query}&n=1": Reply(status),
        f"{CDN}/x": ranged(CONTENT),
    }
    _, content = await World(pages).fetch()
    assert content == CONTENT[SEGMENTS[0].start : SEGMENTS[0].stop]


async def test_a_refusal_of_the_own_origin_stays_one_behind_a_redirect():
    world = World({FILE: redirect(f"{HUB}/y"), f"{HUB}/y": Reply(403)})
    assert await world.error() == "forbidden"
    assert world.n_asked(FILE) == 1
