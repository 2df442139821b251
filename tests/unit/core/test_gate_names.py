"""Which gate a request passes, and which one an answer speaks of."""

import pytest

from asyncdl.core.hops import HUB_QUOTAS, GateName, gate_of, gate_of_quota, origin_of
from asyncdl.core.reply import MAX_RETRY_AFTER_S, spent_quotas
from asyncdl.errors import TransferError

HUB = origin_of("https://hub.test")


@pytest.mark.parametrize(
    ("url", "quota"),
    [
        ("https://hub.test/datasets/o/n/resolve/main/f.parquet", "resolvers"),
        ("https://hub.test:443/datasets/o/n/resolve/main/api/f.parquet", "resolvers"),
        ("https://HUB.test/api/datasets/o/n/tree/main?path=/resolve/", "api"),
        ("https://hub.test/mirror/api/datasets/o/n", "api"),
        ("https://hub.test/api/resolve-cache/datasets/o/n/x", "api"),
        ("https://hub.test/datasets/o/n", "pages"),
        ("https://hub.test", "pages"),
        ("https://hub.test/apis/o", "pages"),
    ],
)
def test_the_hub_counts_requests_in_three_quotas(url, quota):
    assert gate_of(url, HUB) == GateName("hub.test", quota)
    assert quota in HUB_QUOTAS


@pytest.mark.parametrize("url", ["https://cdn.test/resolve/x", "https://hub.test:8443/api/x", "http://hub.test/api/x"])
def test_every_other_origin_has_one_gate(url):
    assert gate_of(url, HUB) == GateName(origin_of(url).host)


def test_what_is_no_web_url_has_no_gate():
    with pytest.raises(TransferError):
        gate_of("ftp://hub.test/x", HUB)


def test_a_gate_is_told_by_its_host_and_by_its_quota_where_it_has_one():
    assert (str(GateName("hub.test", "api")), str(GateName("cdn.test"))) == ("hub.test (api)", "cdn.test")


def test_a_quota_is_the_named_one_at_the_hub_and_the_only_one_elsewhere():
    asked, elsewhere = GateName("hub.test", "resolvers"), GateName("cdn.test")
    assert gate_of_quota(asked, "api") == GateName("hub.test", "api")
    assert gate_of_quota(asked, "commits") is None
    assert gate_of_quota(elsewhere, "api") == elsewhere


@pytest.mark.parametrize(
    ("text", "spent"),
    [
        ('"resolvers";r=0;t=172', {"resolvers": 172.0}),
        ("resolvers;r=0;t=172", {"resolvers": 172.0}),
        ('"api" ; r=0 ; t=9 , "pages";t=5;r=00;pk=x', {"api": 9.0, "pages": 5.0}),
        ('"api";q=5;r=0;t=9, "api";r=0;t=4', {"api": 9.0}),
        ('"api";r=1;t=9', {}),
        ('"api";r=0;t=0', {"api": 0.0}),
        ('"api";r=0;t=999999999', {"api": MAX_RETRY_AFTER_S}),
        ('"api";r=0;t=' + "9" * 5000, {}),
        ('"api";r=-0;t=9', {}),
        ('"api";r=0', {}),
        ('"api";t=9', {}),
        (";;,,=;r;t", {}),
        ("", {}),
    ],
)
def test_spent_are_the_quotas_of_which_nothing_is_left(text, spent):
    assert spent_quotas({"ratelimit": text}) == spent
    assert spent_quotas({}) == {}
