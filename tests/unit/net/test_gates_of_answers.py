"""What an answer closes: the gate of its own class, or that of the quota it names, and no other host's."""

import pytest

from asyncdl.core.hops import GateName
from asyncdl.errors import TransferError
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from tests.support.replies import Reply
from tests.support.scripted_transport import ScriptedTransport, site

HUB, CDN = "https://1.1.1.1", "https://8.8.8.8"
FILE, LISTING, PAGE, BODY = f"{HUB}/d/resolve/a/x", f"{HUB}/api/d", f"{HUB}/d", f"{CDN}/x"
GATES = {
    FILE: GateName("1.1.1.1", "resolvers"),
    LISTING: GateName("1.1.1.1", "api"),
    PAGE: GateName("1.1.1.1", "pages"),
    BODY: GateName("8.8.8.8"),
}
NOW = 1_700_000_000.0


async def waits_after(clock, url, status, headers):
    """Ask once; return {url: seconds} of the gates that are closed then, and check that they let nobody through."""
    gates, transport = Gates(), ScriptedTransport(site({url: Reply(status, headers)}))
    client = Client(transport, Credentials(HUB, None), gates)
    async with client.hop(url, guarded=False, now=NOW) as response:
        assert response.status == status
    waits = {one: wait_s for one, gate in GATES.items() if (wait_s := gates.wait_s(gate)) > 0}
    for closed in waits:
        with pytest.raises(TransferError, match="asked for a pause"):
            async with client.hop(closed, guarded=False, now=NOW):
                pass
    assert len(transport.asked) == 1
    return waits


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("url", GATES)
async def test_a_refusal_closes_the_gate_of_its_host_and_class_only(clock, url, status):
    assert await waits_after(clock, url, status, {"Retry-After": "60"}) == {url: 60.0}


async def test_a_spent_quota_closes_its_gate_for_a_second_longer_than_its_window(clock):
    assert await waits_after(clock, FILE, 429, {"RateLimit": '"resolvers";r=0;t=59'}) == {FILE: 60.0}


@pytest.mark.parametrize(("more", "wait_s"), [({"Retry-After": "7"}, 7.0), ({}, 1.0)])
async def test_where_the_quota_is_not_spent_retry_after_alone_speaks(clock, more, wait_s):
    headers = {"RateLimit": '"resolvers";r=949;t=271'} | more
    assert await waits_after(clock, FILE, 429, headers) == {FILE: wait_s}


@pytest.mark.parametrize("status", [200, 302, 404])
async def test_the_answer_that_used_up_a_quota_closes_its_gate_before_anybody_is_refused(clock, status):
    assert await waits_after(clock, FILE, status, {"RateLimit": '"resolvers";r=0;t=30'}) == {FILE: 30.0}


async def test_the_quota_that_is_named_closes_whatever_was_asked(clock):
    headers = {"RateLimit": '"api";r=0;t=30, "resolvers";r=5;t=30'}
    assert await waits_after(clock, FILE, 200, headers) == {LISTING: 30.0}


@pytest.mark.parametrize("headers", [{}, {"RateLimit": '"resolvers";r=1;t=30'}, {"RateLimit": '"commits";r=0;t=30'}])
async def test_an_answer_that_says_nothing_of_its_quota_closes_nothing(clock, headers):
    assert await waits_after(clock, FILE, 200, headers) == {}


async def test_another_host_has_one_gate_whatever_its_quotas_are_called(clock):
    assert await waits_after(clock, BODY, 200, {"RateLimit": '"resolvers";r=0;t=30'}) == {BODY: 30.0}


async def test_a_refusal_that_names_another_quota_closes_both(clock):
    """Or those that ask as it did would be refused one after the other."""
    assert await waits_after(clock, FILE, 429, {"RateLimit": '"api";r=0;t=30'}) == {FILE: 31.0, LISTING: 30.0}
