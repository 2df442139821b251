"""Whatever goes wrong, no text that a log or a terminal could show holds the token or a signed query."""

import traceback

import pytest

from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Pinned
from asyncdl.core.secret import Secret
from asyncdl.errors import AsyncdlError, TransferError
from asyncdl.net import fetch
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.fetch import Answer, Fetcher
from asyncdl.net.gates import Gates
from asyncdl.net.remote import RemoteObject
from asyncdl.net.transport import Request
from tests.support.replies import Reply, redirect
from tests.support.scripted_transport import ScriptedTransport, site

TOKEN = "hf_canaryTOKEN"
HUB, CDN = "https://1.1.1.1", "https://8.8.8.8"
SIGNED = f"{CDN}/x?Expires=9999999999&Policy=canaryPOLICY&Signature=canarySIGNATURE&Key-Pair-Id=canaryKEY"

FAILURES = [
    Reply(403), Reply(404), Reply(416), Reply(429, {"Retry-After": "0"}), Reply(500), Reply(206), Reply(302),
    redirect("http://8.8.8.8/y?Signature=canaryNEXT"), redirect("https://[bad?Signature=canaryNEXT"),
    redirect("https://user:canaryPASSWORD@8.8.8.8/"), redirect("https://127.0.0.1/?Signature=canaryNEXT"),
    redirect("ftp://8.8.8.8/?Signature=canaryNEXT"), redirect("https://8.8.8.8:x/?Signature=canaryNEXT"),
    redirect(f"{CDN}/x?Signature=canaryLOOP"), Reply(200, {"Content-Type": "text/html"}, (b"canaryBODY",)),
    Reply(206, {"Content-Range": "bytes 5-9/100"}, (b"canar",)), Reply(200, {"Content-Encoding": "gzip"}, (b"x" * 100,)),
    Reply(206, {"Content-Range": "bytes 0-9/100", "ETag": '"v2"'}, (b"x" * 10,)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(fetch, "BASE_DELAY_S", 0.0)


def client(failure):
    pages = {f"{HUB}/x": redirect(SIGNED), f"{CDN}/x": failure}
    return Client(ScriptedTransport(site(pages)), Credentials(HUB, Secret(TOKEN)), Gates())


def texts(error, *others):
    shown = ["".join(traceback.format_exception(error)), str(error), repr(error), str(getattr(error, "hint", ""))]
    return "\n".join([*shown, *(f"{one!r} {one}" for one in others)])


@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_no_failure_of_a_transfer_tells(failure):
    asker = client(failure)
    remote = RemoteObject(asker, f"{HUB}/x")
    with pytest.raises(TransferError) as caught:
        async with remote.open(ByteRange(0, 10), Pinned(100, '"v1"')):
            pytest.fail("it did not fail")
    assert "canary" not in texts(caught.value, remote, remote._location, asker, asker.gates, *asker._transport.asked)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_no_failure_of_a_fetch_tells(failure, clock):
    asker = client(failure)
    try:
        answer = await Fetcher(asker).get(f"{HUB}/x", limit_bytes=50)
    except AsyncdlError as error:
        assert "canary" not in texts(error)
    else:
        assert "canary" not in repr(answer)


async def test_no_value_that_holds_a_secret_shows_it():
    credentials = Credentials(HUB, Secret(TOKEN))
    headers = await credentials.headers(f"{HUB}/x", now=0.0)
    held = [
        Secret(TOKEN), credentials, vars(credentials), Request(SIGNED, headers, guarded=True),
        Answer(200, {}, b"canaryBODY", f"{CDN}/x"), RemoteObject(client(Reply(404)), f"{HUB}/x"),
    ]  # fmt: skip
    for one in held:
        assert "canary" not in f"{one!r} {one} {one:}"
