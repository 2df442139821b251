import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.hops import (
    EXPIRY_MARGIN_S,
    Origin,
    is_expired,
    is_private,
    is_private_literal,
    is_signed,
    next_url,
    origin_of,
)
from asyncdl.errors import TransferError

BASE = "https://hub.test/a/b?c=d"


def refused(url, location):
    with pytest.raises(TransferError) as caught:
        next_url(url, location)
    return caught.value.error_class


# origins


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hub.test", Origin("https", "hub.test", 443)),
        ("http://hub.test/", Origin("http", "hub.test", 80)),
        ("https://hub.test:443/x", Origin("https", "hub.test", 443)),
        ("https://hub.test:8443/x", Origin("https", "hub.test", 8443)),
        ("HTTPS://HUB.Test/x", Origin("https", "hub.test", 443)),
        ("https://user:pw@hub.test/x", Origin("https", "hub.test", 443)),
        ("http://[::1]:8080/x", Origin("http", "::1", 8080)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "", "/x", "//hub.test/x", "hub.test/x", "ftp://hub.test/x", "file:///etc/passwd", "https://", "https:///x",
        "https:hub.test", "http://hub.test:99999/", "http://hub.test:x/", "http://[::1", "http://[hub]/",
        "http://hub test/", "http://hub\x1b[2J.test/", "http://hub%2ftest/", "http://hub\\.test/", "http://1.2.3.4%eth0/",
        "javascript:alert(1)", "data:text/plain,x", "http://<hub>/",
    ],
)  # fmt: skip
def test_what_is_no_web_origin_is_refused_with_a_class(url):
    with pytest.raises(TransferError) as caught:
        origin_of(url)
    assert caught.value.error_class == "redirect_scheme"


# where a redirect leads


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://cdn.test/x?Signature=a~b%2Bc&Expires=1", "https://cdn.test/x?Signature=a~b%2Bc&Expires=1"),
        ("/api/resolve-cache/x?%2Fa=&etag=%22b%22", "https://hub.test/api/resolve-cache/x?%2Fa=&etag=%22b%22"),
        ("other", "https://hub.test/a/other"),
        ("../other", "https://hub.test/other"),
        ("?only=query", "https://hub.test/a/b?only=query"),
        ("//cdn.test/x", "https://cdn.test/x"),
        ("  /padded \t", "https://hub.test/padded"),
        ("https://cdn.test/x#fragment", "https://cdn.test/x"),
        ("https://cdn.test:8443", "https://cdn.test:8443"),
        ("/a%zz%", "https://hub.test/a%zz%"),
    ],
)
def test_a_location_leads_where_it_says_unaltered(location, url):
    assert next_url(BASE, location) == url


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/a b", "https://hub.test/a%20b"),
        ("/größe?x=ö", "https://hub.test/gr%C3%B6%C3%9Fe?x=%C3%B6"),
        ("/\udcff", "https://hub.test/%FF"),
        ("/a\\b", "https://hub.test/a%5Cb"),
        ("/a\tb\x1b", "https://hub.test/a%09b%1B"),
    ],
)
def test_what_may_not_stand_in_a_url_is_quoted_as_it_was_sent(location, url):
    assert next_url(BASE, location) == url


def test_http_may_lead_to_https():
    assert next_url("http://hub.test/", "https://hub.test/x") == "https://hub.test/x"


@pytest.mark.parametrize(
    "location",
    [
        "http://hub.test/x", "http://cdn.test/x", "ftp://cdn.test/x", "file:///etc/passwd", "https://a%20b/",
        "https://user@cdn.test/x", "https://user:pw@cdn.test/x", "https://public.test\\@127.0.0.1/", "https://1.2.3.4%25/",
        "https://[bad", "//[", "https://cdn.test:99999/", "https://@cdn.test/", "gopher:x", "data:,x", "https://a b/",
    ],
)  # fmt: skip
def test_a_location_that_is_not_followed_says_why(location):
    assert refused(BASE, location) == "redirect_scheme"


@given(st.text())
def test_any_location_leads_to_a_plain_web_url_or_is_refused(location):
    try:
        url = next_url(BASE, location)
    except TransferError as error:
        assert error.error_class == "redirect_scheme"
        return
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert origin_of(url).scheme == "https"


# signatures


@pytest.mark.parametrize("key", ["Signature", "X-Amz-Signature", "X-Goog-Signature", "sig", "x-amz-signature"])
def test_a_query_with_a_signature_is_signed(key):
    assert is_signed(f"https://cdn.test/x?a=b&{key}=abc&c=d")


@pytest.mark.parametrize("url", ["https://cdn.test/x", "https://cdn.test/Signature=x", "https://cdn.test/x?unsig=a", "https://cdn.test/x?a=sig", "https://cdn.test/x#sig=a"])  # fmt: skip
def test_other_urls_are_not(url):
    assert not is_signed(url)


def test_a_url_has_expired_a_margin_before_its_end():
    url = "https://cdn.test/x?Expires=10000&Signature=a"
    assert not is_expired(url, 10_000 - EXPIRY_MARGIN_S)
    assert is_expired(url, 10_000 - EXPIRY_MARGIN_S + 1)


@pytest.mark.parametrize("query", ["", "Expires=", "Expires=soon", "Expires=-5", "expires=5", "X-Amz-Date=1&X-Amz-Expires=5", "Expires=" + "9" * 5000])  # fmt: skip
def test_a_url_that_does_not_say_when_it_ends_has_not_expired(query):
    assert not is_expired(f"https://cdn.test/x?{query}", 1e9)


# addresses

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "192.0.0.1",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1",
    "ff0e::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:224.0.0.1",
    "::127.0.0.1", "::10.0.0.1", "::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1",
    "::ffff:7f00:1", "0:0:0:0:0:ffff:7f00:0001", "::ffff:100.64.0.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.169.0.1", "198.20.0.1",
    "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_on_the_public_internet_is_private(address):
    assert is_private(address)
    assert is_private_literal(address) is True


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_on_the_public_internet_is_not(address):
    assert not is_private(address)
    assert is_private_literal(address) is False


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(inner):
    for carrier in ("::", "::ffff:", "::ffff:0:", "64:ff9b::"):
        assert is_private(f"{carrier}{inner}") == is_private(str(inner)), carrier
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80) | 1)
    assert is_private(str(six_to_four)) == is_private(str(inner))


@pytest.mark.parametrize("text", ["", "hub.test", "localhost", "1.2.3", "1.2.3.4.5", "127.1", "::g", "[::1]"])
def test_what_is_no_address_is_an_error(text):
    with pytest.raises(ValueError):
        is_private(text)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost", "localhost."])
def test_localhost_is_private_by_name(host):
    assert is_private_literal(host) is True


@pytest.mark.parametrize(
    "host",
    ["127.1", "2130706433", "0x7f000001", "0x7f.1", "127.0.0.1.", "017700000001", "a.b.0x", "１２７.0.0.1", "8.8.8"],
)
def test_an_address_in_an_odd_form_is_taken_for_private(host):
    assert is_private_literal(host) is True


@pytest.mark.parametrize(
    "host", ["hub.test", "localhost.test", "notlocalhost", "1and1.example", "0x.example", "3com", "x1", "hub.test."]
)
def test_a_name_is_left_to_the_resolver(host):
    assert is_private_literal(host) is None
