"""The same rules against a hub that shares no code with us: real sockets, real signatures, its own books."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Pinned
from asyncdl.core.secret import Secret
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.errors import TransferError
from asyncdl.net.aiohttp_transport import AiohttpTransport
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from asyncdl.net.remote import RemoteObject

BIG = GeneratedFile(1 << 20, seed=3)
SIZE = BIG.size_bytes
SEGMENTS = [ByteRange(at, at + (1 << 16)) for at in range(0, SIZE, 1 << 16)]
TOKEN = "hf_demodemo"


@asynccontextmanager
async def world(**options):
    """(hub, fetch): fetch(range) is the bytes of one segment of the big file."""
    repo = Repo("org/name", {"big.parquet": BIG, "README.md": b"# small\n"})
    async with DemoHub([repo], token=TOKEN, **options) as hub, AiohttpTransport(stall_timeout_s=0.3) as transport:
        client = Client(transport, Credentials(hub.endpoint, Secret(TOKEN)), Gates())
        remote = RemoteObject(client, f"{hub.endpoint}/datasets/org/name/resolve/main/big.parquet")

        async def fetch(asked):
            async with remote.open(asked, Pinned(SIZE)) as (_, response):
                return await response.read(1 << 20)

        yield hub, fetch


async def whole(fetch):
    return b"".join(await asyncio.gather(*map(fetch, SEGMENTS)))


async def test_sixteen_segments_cost_one_request_to_the_hub_and_the_token_stays_there():
    async with world() as (hub, fetch):
        assert await whole(fetch) == BIG.read(0, SIZE)
        assert hub.totals["hub"].n_requests == 1
        assert hub.totals["cdn"].n_requests == len(SEGMENTS)
        assert (hub.totals["hub"].n_authorized, hub.totals["cdn"].n_authorized) == (1, 0)


async def test_an_expired_url_costs_one_more_whatever_the_number_of_segments():
    now = [1e9]  # long ago, so that our own clock sees nothing but ended URLs and the hub must say so
    async with world(now=lambda: now[0], url_life_s=100.0) as (hub, fetch):
        await fetch(SEGMENTS[0])
        now[0] += 200.0
        assert await whole(fetch) == BIG.read(0, SIZE)
        assert hub.totals["hub"].n_requests == 2
        assert hub.totals["cdn"].statuses[403] <= len(SEGMENTS)


async def test_a_hub_that_signs_for_the_past_is_asked_twice_and_no_more():
    async with world(faults=[Fault("expired_url")]) as (hub, fetch):
        with pytest.raises(TransferError) as caught:
            await fetch(SEGMENTS[0])
        assert caught.value.error_class == "url_expired"
        assert hub.totals["hub"].n_requests == 2


async def test_urls_that_live_shorter_than_our_margin_do_not_keep_us_from_the_file():
    async with world(url_life_s=5.0) as (hub, fetch):
        assert await whole(fetch) == BIG.read(0, SIZE)
        assert hub.totals["hub"].n_requests == 1


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        (Fault("hang_up", origin="cdn"), "dropped"),
        (Fault("drop", origin="cdn", after_bytes=1000), "short_body"),
        (Fault("early_end", origin="cdn", after_bytes=1000), "short_body"),
        (Fault("stall", origin="cdn", after_bytes=1000), "stalled"),
        (Fault("status", origin="cdn", status=500), "http_5xx"),
        (Fault("status", origin="cdn", status=503, retry_after="9"), "http_503"),
        (Fault("status", origin="hub", status=429, retry_after="9"), "rate_limited"),
        (Fault("missing", origin="hub"), "not_found"),
        (Fault("html", origin="cdn"), "html_instead"),
        (Fault("redirect_loop"), "redirect_loop"),
        (Fault("redirect_to", origin="cdn", location="ftp://8.8.8.8/"), "redirect_scheme"),
        (Fault("range_shifted", origin="cdn"), "range_shifted"),
        (Fault("wrong_total", origin="cdn"), "remote_changed"),
        (Fault("wrong_length", origin="cdn", delta_bytes=7), "wrong_length"),
        (Fault("gzip", origin="cdn"), "encoded"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value,
)
async def test_what_a_hub_can_do_wrong_has_its_class(fault, error_class):
    async with world(faults=[fault]) as (_, fetch):
        with pytest.raises(TransferError) as caught:
            await fetch(SEGMENTS[1])
        assert caught.value.error_class == error_class
