"""A URL becomes one artifact whose URL can be built again, or is refused; no secret passes."""

import pytest

from asyncdl.core.names import folder_name, quote_path
from asyncdl.errors import UnsafeNameError, UsageError
from asyncdl.sources.resolve import Selection, resolve
from asyncdl.sources.urls import resolve_url
from tests.unit.sources.scripted import ENDPOINT, ScriptedFetcher


@pytest.mark.parametrize(
    ("url", "name", "root", "path"),
    [
        ("https://example.org/a/b.parquet", "example.org", "raw/example.org", "a/b.parquet"),
        ("https://EXAMPLE.org:443/b", "example.org", "raw/example.org", "b"),
        ("https://example.org:8080/b", "example.org:8080", "raw/example.org", "b"),
        ("http://example.org/b", "http://example.org", "raw/example.org", "b"),
        ("http://127.0.0.1:8080/b", "http://127.0.0.1:8080", "raw/127.0.0.1", "b"),
        ("https://[::1]/b", "[::1]", f"raw/{folder_name('::1')}", "b"),
        ("https://example.org/a%20b/%C3%A5%23%25.parquet", "example.org", "raw/example.org", "a b/å#%.parquet"),
    ],
)
async def test_host_and_path_become_names_decoded_once(url, name, root, path):
    found = resolve_url(url)
    (artifact,) = [artifact async for artifact in found.artifacts]
    assert (found.name, found.local_root, artifact.path, found.source) == (name, root, path, "url")
    assert (artifact.size_bytes, artifact.digest, found.revision, found.text_field) == (None, None, "", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a/b.parquet",
        "http://127.0.0.1:8080/a%20b/%C3%A5%23%25",
        "http://[::1]:8080/x",
        "http://b%C3%BCcher.example/x".replace("b%C3%BCcher", "xn--bcher-kva"),
    ],
)
async def test_origin_and_quoted_path_are_the_url_again(url):
    found = resolve_url(url)
    (artifact,) = [artifact async for artifact in found.artifacts]
    assert f"{found.origin}/{quote_path(artifact.path)}" == url


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@example.org/x",
        "https://hunter2@example.org/x",
        "https://example.org/x?X-Amz-Signature=hunter2",
        "https://example.org/x?",
        "https://example.org/x#hunter2",
        "https://example.org/",
        "https://example.org",
        "https://example.org/folder/",
        "https:///x",
        "https://example.org:port/x",
        "https://example.org/a%2Fb",
        "https://example.org/%ff",
    ],
)
def test_what_the_queue_may_not_hold_is_refused_without_showing_it(url):
    with pytest.raises(UsageError) as caught:
        resolve_url(url)
    assert "hunter2" not in caught.value.message + (caught.value.hint or "")


@pytest.mark.parametrize("path", ["../x", "%2e%2e/x", "a//b", "a%5Cb", "e%CC%81", "x.partial", "CON"])
def test_a_path_that_cannot_be_a_file_name_is_unsafe(path):
    with pytest.raises(UnsafeNameError):
        resolve_url(f"https://example.org/{path}")


async def test_nothing_is_asked_of_the_host_and_a_language_makes_no_sense():
    fetcher = ScriptedFetcher()
    await resolve("https://example.org/x", Selection(), fetcher=fetcher, endpoint=ENDPOINT)
    assert fetcher.asked == []
    with pytest.raises(UsageError, match="not from a URL"):
        await resolve("https://example.org/x", Selection(langs=("sv",)), fetcher=fetcher, endpoint=ENDPOINT)
