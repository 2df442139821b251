import pytest

from asyncdl import __version__
from asyncdl.core.ranges import ByteRange
from asyncdl.core.secret import Secret
from asyncdl.net.credentials import Credentials

TOKEN = "hf_canarycanary"
NOW = 1_795_194_000.0

SAME = [
    ("https://hub.test", "https://hub.test/a"),
    ("https://hub.test/", "https://hub.test/a?b=c"),
    ("https://hub.test", "https://hub.test:443/a"),
    ("https://hub.test:443", "https://hub.test/a"),
    ("https://HUB.test", "https://hub.TEST/a"),
    ("http://hub.test:80", "http://hub.test/a"),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080/a"),
    ("http://[::1]:8080", "http://[::1]:8080/a"),
]
OTHER = [
    ("https://hub.test", "http://hub.test/a"),
    ("http://hub.test", "https://hub.test/a"),
    ("https://hub.test", "https://hub.test:8443/a"),
    ("https://hub.test:8443", "https://hub.test/a"),
    ("https://hub.test", "https://cdn.hub.test/a"),
    ("https://www.hub.test", "https://hub.test/a"),
    ("https://hub.test", "https://hub.test.evil.example/a"),
    ("https://hub.test", "https://evil-hub.test/a"),
    ("https://hub.test", "https://evil.example/hub.test"),
    ("https://hub.test", "https://evil.example/?https://hub.test"),
    ("https://hub.test", "https://hub.test@evil.example/a"),
    ("https://hub.test", "https://evil.example#@hub.test/"),
    ("https://hub.test", "https://hub.test./a"),
    ("https://127.0.0.1", "https://localhost/a"),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8081/a"),
    ("http://[::1]:8080", "http://127.0.0.1:8080/a"),
]


@pytest.mark.parametrize(("endpoint", "url"), SAME)
async def test_the_token_is_sent_to_its_own_origin(endpoint, url):
    headers = await Credentials(endpoint, Secret(TOKEN)).headers(url, now=NOW)
    assert headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(("endpoint", "url"), OTHER)
async def test_the_token_is_sent_to_no_other_origin(endpoint, url):
    assert TOKEN not in str(await Credentials(endpoint, Secret(TOKEN)).headers(url, now=NOW))


async def test_the_headers_are_these_and_no_others():
    plain = {"User-Agent": f"asyncdl/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    assert await Credentials("https://hub.test", None).headers("https://hub.test/a", now=NOW) == plain
    asked = await Credentials("https://hub.test", None).headers(
        "https://hub.test/a", now=NOW, asked=ByteRange(5, 10), validator='"v1"'
    )
    assert asked == plain | {"Range": "bytes=5-9"}


async def test_what_one_hop_does_to_its_headers_does_not_reach_the_next():
    credentials = Credentials("https://hub.test", None)
    (await credentials.headers("https://hub.test/a", now=NOW))["X"] = "y"
    assert "X" not in await credentials.headers("https://hub.test/a", now=NOW)
