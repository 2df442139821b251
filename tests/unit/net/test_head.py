import pytest

from asyncdl.core.hops import origin_of
from asyncdl.errors import TransferError
from asyncdl.net.head import Head, end_of_head, request_head
from asyncdl.net.transport import Request


def sent(url, **headers):
    return request_head(Request(url, headers), origin_of(url)).decode().split("\r\n")


def head(first="HTTP/1.1 200 OK", *lines):
    return Head("\r\n".join([first, *lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://h.test", "/", "h.test"),
        ("http://h.test?a=b", "/?a=b", "h.test"),
        ("http://h.test/a%2Fb?x=%20#part", "/a%2Fb?x=%20", "h.test"),
        ("http://H.test:80/x", "/x", "h.test"),
        ("https://h.test:443/x", "/x", "h.test"),
        ("https://h.test:80/x", "/x", "h.test:80"),
        ("http://h.test:8080/x", "/x", "h.test:8080"),
        ("http://[::1]:8080/x", "/x", "[::1]:8080"),
        ("http://bücher.test/x", "/x", "xn--bcher-kva.test"),
    ],
)
def test_target_and_host_are_those_of_the_url(url, target, host):
    assert sent(url, Range="bytes=0-1") == [f"GET {target} HTTP/1.1", f"Host: {host}", "Range: bytes=0-1", "", ""]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "ü" * 64])
def test_what_cannot_be_a_host_is_dns(host):
    with pytest.raises(TransferError) as caught:
        sent(f"http://{host}/x")
    assert caught.value.error_class == "dns"


def test_a_value_that_was_no_text_goes_back_as_it_came():
    assert request_head(Request("http://h.test/", {"If-Match": '"\udce9"'}), origin_of("http://h.test/")).endswith(
        b'If-Match: "\xe9"\r\n\r\n'
    )


@pytest.mark.parametrize(
    ("found", "n_body"),
    [
        (head("HTTP/1.1 200 OK", "Content-Length: 5"), 5),
        (head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), None),
        (head("HTTP/1.1 200 OK"), None),
        (head("HTTP/1.1 204 No Content"), 0),
        (head("HTTP/1.1 204 No Content", "Content-Length: 5"), 0),
        (head("HTTP/1.1 304 Not Modified", "Content-Length: 5"), 0),
    ],
)
def test_the_length_of_the_body_is_told_by_the_head_or_not_at_all(found, n_body):
    assert found.body_bytes == n_body


@pytest.mark.parametrize(
    ("found", "keeps"),
    [
        (head("HTTP/1.1 200 OK", "Content-Length: 5"), True),
        (head("HTTP/1.1 302 Found", "Content-Length: 0"), True),
        (head("HTTP/1.1 204 No Content"), True),
        (head("HTTP/1.1 200 OK", "Content-Length: 5", "Connection: close"), False),
        (head("HTTP/1.1 200 OK"), False),
        (head("HTTP/1.0 200 OK", "Content-Length: 5"), False),
        (head("HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive"), True),
    ],
)
def test_a_head_says_whether_the_connection_is_kept(found, keeps):
    assert found.keeps_alive is keeps


@pytest.mark.parametrize(
    "first", ["220 ftp ready", "HTTP/1.1 abc", "ICY 200 OK", "HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade"]
)
def test_what_is_no_http_is_refused(first):
    with pytest.raises(ValueError, match="HTTP"):
        head(first)


def test_of_a_repeated_header_the_last_counts():
    assert head("HTTP/1.1 200 OK", "X-A: 1", "x-a: 2").headers == {"x-a": "2"}


@pytest.mark.parametrize(
    ("block", "end"), [(b"a\r\n\r\nbody", 5), (b"a\n\nbody", 3), (b"a\r\nb\r\n", None), (b"", None)]
)
def test_the_end_of_a_head_is_found_however_it_comes_in_pieces(block, end):
    block = bytearray(block)
    assert end_of_head(block, 0, len(block)) == end
    found = [end_of_head(block, n, n + 1) for n in range(len(block))]
    assert [one for one in found if one is not None][:1] == ([end] if end else [])
