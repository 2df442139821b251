"""Control documents: waited for, retried, followed; whatever the far side does, the caller meets an Answer or a RemoteError."""

import pytest

from asyncdl.core.hops import MAX_HOPS, GateName
from asyncdl.core.secret import Secret
from asyncdl.errors import RemoteError, TransferError
from asyncdl.net import fetch
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.fetch import MAX_TRIES, Fetcher
from asyncdl.net.gates import Gates
from tests.support.replies import Reply, redirect
from tests.support.scripted_transport import ScriptedTransport, site

HUB, CDN = "https://1.1.1.1", "https://8.8.8.8"
URL = f"{HUB}/api/x?recursive=True"
DROPPED = TransferError("dropped", "the connection ended")
OK = Reply(200, {"X-Odd": "Kept"}, (b"{", b"}"))


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(fetch, "BASE_DELAY_S", 0.0)


def fetcher(script, token=None):
    transport = ScriptedTransport(script)
    credentials = Credentials(HUB, Secret(token) if token else None)
    return Fetcher(Client(transport, credentials, Gates())), transport


async def error_of(script, url=URL, **options):
    asker, transport = fetcher(script)
    with pytest.raises(RemoteError) as caught:
        await asker.get(url, **options)
    assert transport.n_open == 0
    return caught.value, transport


async def test_the_answer_comes_whole():
    asker, transport = fetcher([OK])
    answer = await asker.get(URL)
    assert (answer.status, answer.body, answer.headers["x-odd"]) == (200, b"{}", "Kept")
    assert answer.url == f"{HUB}/api/x"
    assert transport.urls == [URL]


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 416, 418])
async def test_a_refusal_that_stays_one_is_an_answer(status):
    asker, transport = fetcher([Reply(status, {}, (b"why",))])
    answer = await asker.get(URL)
    assert (answer.status, answer.body) == (status, b"why")
    assert len(transport.asked) == 1


@pytest.mark.parametrize(
    "failure",
    [Reply(500), Reply(502), Reply(504), Reply(408), DROPPED, TransferError("stalled", ""), TransferError("dns", ""), TransferError("connect", ""), TransferError("tls", ""), Reply(200, {}, (b"{",), length_bytes=9, ends="fin")],
)  # fmt: skip
async def test_what_may_pass_is_tried_again(failure):
    asker, transport = fetcher([failure, failure, OK])
    assert (await asker.get(URL)).body == b"{}"
    assert transport.urls == [URL] * 3


@pytest.mark.parametrize("failure", [Reply(500), DROPPED])
async def test_it_gives_up_after_so_many_tries_and_says_what_failed(failure):
    error, transport = await error_of([failure] * MAX_TRIES)
    assert len(transport.asked) == MAX_TRIES
    assert f"{HUB}/api/x could not be fetched after {MAX_TRIES} tries" in error.message
    assert "recursive" not in error.message
    assert "the queue was not changed" in error.hint


@pytest.mark.parametrize(
    ("status", "words", "hint"), [(500, "HTTP 500", "tried again"), (429, "too many requests", "HF_TOKEN"), (503, "unavailable", "tried again")]
)  # fmt: skip
async def test_it_gives_up_in_the_words_of_what_failed(status, words, hint, clock):
    error, _ = await error_of([Reply(status)] * MAX_TRIES)
    assert words in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    "location", ["http://8.8.8.8/x", "ftp://8.8.8.8/x", "https://[bad", "https://127.0.0.1/x", "https://localhost/x"]
)
async def test_what_trying_again_cannot_help_is_told_at_once(location):
    error, transport = await error_of([redirect(location)] * 2)
    assert len(transport.asked) == 1
    assert "tries" not in error.message


@pytest.mark.parametrize("url", ["http://[bad/x", "http://hub.test:99999/x", "ftp://hub.test/x", "/x", ""])
async def test_a_url_that_cannot_be_asked_is_a_remote_error(url):
    error, transport = await error_of([], url=url)
    assert transport.asked == []
    assert error.hint


# waiting


async def test_a_pause_that_is_asked_for_is_waited_out(clock):
    asker, transport = fetcher([Reply(429, {"Retry-After": "50"}), OK])
    began = clock.now
    assert (await asker.get(URL)).status == 200
    assert 49.0 < clock.now - began <= 51.0
    assert len(transport.asked) == 2


async def test_a_gate_that_is_closed_already_is_waited_for_and_costs_no_try(clock):
    asker, _ = fetcher([OK])
    asker._client.gates.refused(GateName("1.1.1.1", "api"), 50.0)
    assert (await asker.get(URL)).status == 200
    assert clock.slept == [50.0]


async def test_a_pause_of_a_host_behind_a_redirect_is_waited_out_too(clock):
    refusals = iter([Reply(429, {"Retry-After": "50"})])
    pages = {f"{HUB}/api/x": redirect(f"{CDN}/x"), f"{CDN}/x": lambda _request: next(refusals, OK)}
    asker, transport = fetcher(site(pages))
    assert (await asker.get(URL)).body == b"{}"
    assert len(transport.asked) == 4
    assert sum(clock.slept) == pytest.approx(50.0, abs=1.0)


@pytest.mark.parametrize("location", [None, f"{CDN}/x"])
async def test_a_long_pause_is_told_and_not_waited_out_in_silence(clock, location):
    refused = Reply(429, {"Retry-After": "3600"})
    pages = {f"{HUB}/api/x": redirect(location) if location else refused, f"{CDN}/x": refused}
    error, transport = await error_of(site(pages))
    assert clock.slept == []
    assert "pause of 3600 s" in error.message
    assert "the queue was not changed" in error.hint
    assert transport.urls.count(location or URL) == 1


# redirects


async def test_redirects_are_followed():
    asker, transport = fetcher([redirect("../y?z", 307), redirect(f"{CDN}/x?Signature=a"), OK])
    answer = await asker.get(URL)
    assert transport.urls == [URL, f"{HUB}/y?z", f"{CDN}/x?Signature=a"]
    assert answer.url == f"{CDN}/x"


async def test_a_redirect_without_a_place_is_an_answer():
    asker, _ = fetcher([Reply(302, {}, (b"where?",))])
    assert (await asker.get(URL)).status == 302


async def test_a_loop_ends():
    error, transport = await error_of(lambda request: redirect(request.url))
    assert len(transport.asked) == MAX_HOPS + 1
    assert "redirects" in error.message


async def test_the_token_does_not_leave_its_origin_and_the_guard_stays():
    asker, transport = fetcher(
        [redirect("/y"), redirect(f"{CDN}/x"), redirect(f"{HUB}/z"), OK], token="hf_canarycanary"
    )
    await asker.get(URL)
    assert ["Authorization" in request.headers for request in transport.asked] == [True, True, False, True]
    assert [request.guarded for request in transport.asked] == [False, True, True, True]


# sizes


async def test_a_document_of_just_the_limit_is_taken_and_a_larger_one_refused():
    asker, _ = fetcher([OK])
    assert (await asker.get(URL, limit_bytes=2)).body == b"{}"
    error, _ = await error_of([OK] * MAX_TRIES, limit_bytes=1)
    assert "more than 1 bytes" in error.message
