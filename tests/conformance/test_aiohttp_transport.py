"""The rules of the real transport that a script cannot break: names, proxies, TLS, kept connections, aiohttp's errors."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import traceback

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from asyncdl.errors import TransferError
from asyncdl.net.aiohttp_transport import AiohttpTransport, PrivateAddressError, foreign_errors
from asyncdl.net.transport import Request
from tests.conformance.stages import STALL_S
from tests.support.lying_server import LyingServer
from tests.support.replies import Reply

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.1"


async def error_of(url, **options):
    async with AiohttpTransport(stall_timeout_s=STALL_S) as transport:
        with pytest.raises(TransferError) as caught:
            async with transport.open(Request(url, **options)) as response:
                await response.read(1 << 20)
    return caught.value


@pytest.fixture
def names(monkeypatch):
    """A name server of the test's own: {host: [address, ...]}; other names do not exist."""
    known = {}

    def getaddrinfo(host, port, *_, **__):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


async def test_a_guarded_name_with_a_private_address_is_refused_before_anything_is_sent(names):
    names["inside.test"] = ["127.0.0.1"]
    async with LyingServer([Reply()]) as server:
        error = await error_of(f"http://inside.test:{server.port}/x", guarded=True)
        assert error.error_class == "private_address"
        assert server.heard == []


async def test_one_private_address_among_public_ones_suffices_to_refuse(names):
    names["rebound.test"] = [PUBLIC, PRIVATE]
    assert (await error_of("http://rebound.test:9/x", guarded=True)).error_class == "private_address"


async def test_an_unguarded_name_may_be_private(names):
    names["inside.test"] = ["127.0.0.1"]
    async with (
        LyingServer([Reply()]) as server,
        AiohttpTransport() as transport,
        transport.open(Request(f"http://inside.test:{server.port}/x")) as response,
    ):
        assert response.status == 200
        assert server.heard[0].headers == {"host": f"inside.test:{server.port}"}


async def test_what_the_unguarded_session_resolved_is_not_trusted_by_the_guarded_one(names):
    names["inside.test"] = ["127.0.0.1"]
    async with LyingServer([Reply()] * 2) as server, AiohttpTransport() as transport:
        url = f"http://inside.test:{server.port}/x"
        async with transport.open(Request(url)):
            pass
        with pytest.raises(TransferError, match="not public"):
            async with transport.open(Request(url, guarded=True)):
                pytest.fail("the kept connection was used")


@pytest.mark.parametrize("guarded", [False, True])
async def test_an_unknown_name_is_dns(names, guarded):
    assert (await error_of("http://nowhere.test/x", guarded=guarded)).error_class == "dns"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test"])
async def test_what_cannot_be_a_name_is_dns(host):
    assert (await error_of(f"http://{host}/x")).error_class == "dns"


async def test_a_port_nobody_listens_on_is_connect():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert (await error_of(f"http://127.0.0.1:{port}/x")).error_class == "connect"


async def test_a_proxy_of_the_environment_is_used_and_may_be_private(names, monkeypatch):
    names["proxy.test"] = ["127.0.0.1"]
    async with LyingServer([Reply(200, {}, (b"by proxy",))] * 2) as server:
        monkeypatch.setenv("http_proxy", f"http://proxy.test:{server.port}")
        async with AiohttpTransport() as transport:
            for guarded in (False, True):
                async with transport.open(Request("http://public.test/x?y=%2F", guarded=guarded)) as response:
                    assert await response.read(100) == b"by proxy"
    assert [heard.target for heard in server.heard] == ["http://public.test/x?y=%2F"] * 2


async def test_a_guarded_literal_is_refused_though_a_proxy_would_take_it(monkeypatch):
    async with LyingServer() as server:
        monkeypatch.setenv("http_proxy", server.url)
        assert (await error_of("http://169.254.169.254/x", guarded=True)).error_class == "private_address"
        assert server.heard == []


async def test_no_proxy_is_honoured(monkeypatch):
    async with LyingServer([Reply(200, {}, (b"direct",))]) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with AiohttpTransport() as transport, transport.open(Request(f"{server.url}/x")) as response:
            assert await response.read(100) == b"direct"


async def test_a_connection_is_kept_after_a_whole_body_and_given_up_after_a_part_of_one():
    whole, part = Reply(200, {}, (b"abc",)), Reply(200, {}, (b"abc",), length_bytes=1000)
    async with LyingServer([whole, part, whole]) as server, AiohttpTransport() as transport:
        for _ in range(3):
            async with transport.open(Request(f"{server.url}/x")) as response:
                async for _block in response.blocks():
                    break
    assert [heard.connection for heard in server.heard] == [0, 0, 1]


async def test_a_kept_connection_that_the_host_has_closed_is_no_error():
    replies = [Reply(200, {}, (b"abc",), ends="fin"), Reply(200, {}, (b"def",))]
    async with LyingServer(replies) as server, AiohttpTransport() as transport:
        for body in (b"abc", b"def"):
            async with transport.open(Request(f"{server.url}/x")) as response:
                assert await response.read(100) == body


async def test_an_interim_answer_is_passed_over():
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    async with (
        LyingServer([answer]) as server,
        AiohttpTransport() as transport,
        transport.open(Request(f"{server.url}/x")) as response,
    ):
        assert (response.status, await response.read(10)) == (200, b"hi")


@pytest.mark.parametrize(
    "answer",
    [
        b"220 ftp.example.org ready\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_an_odd_reply(answer):
    async with LyingServer([answer]) as server:
        assert (await error_of(f"{server.url}/x")).error_class == "odd_reply"


async def test_a_chunk_size_that_is_no_number_ends_the_body_with_an_error():
    async with LyingServer([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"]) as server:
        assert (await error_of(f"{server.url}/x")).error_class in ("odd_reply", "short_body")


async def test_a_host_that_speaks_no_tls_is_tls():
    async def talk(_reader, writer):
        writer.write(b"220 ftp.example.org ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        assert (await error_of(url)).error_class == "tls"


@pytest.fixture
def certificate(tmp_path):
    """(certificate, key) that no authority has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: no openssl to make a certificate with")
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


@pytest.fixture
def tls(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


async def test_a_certificate_nobody_vouches_for_is_tls(tls):
    async with LyingServer(tls=tls) as server:
        error = await error_of(f"https://localhost:{server.port}/x")
        assert error.error_class == "tls"
        assert server.heard == []


async def test_an_authority_of_the_environment_is_trusted(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with (
        LyingServer([Reply(200, {}, (b"safe",))], tls=tls) as server,
        AiohttpTransport() as transport,
        transport.open(Request(f"https://localhost:{server.port}/x")) as response,
    ):
        assert await response.read(10) == b"safe"


KEY = ConnectionKey("h", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
REFUSED = OSError(111, "Connection refused")


@pytest.mark.parametrize(
    ("foreign", "error_class"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")), "dns"),
        (aiohttp.ClientConnectorDNSError(KEY, PrivateAddressError("inside")), "private_address"),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("expired")), "tls"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError("handshake")), "tls"),
        (aiohttp.ClientConnectorError(KEY, REFUSED), "connect"),
        (aiohttp.ClientProxyConnectionError(KEY, REFUSED), "connect"),
        (aiohttp.ConnectionTimeoutError("Connection timeout to host https://h/x?sig=canary"), "timeout"),
        (aiohttp.SocketTimeoutError("Timeout on reading data from socket"), "stalled"),
        (TimeoutError(), "stalled"),
        (aiohttp.ClientPayloadError("not completed"), "short_body"),
        (aiohttp.ServerDisconnectedError(), "dropped"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "dropped"),
        (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), "dropped"),
        (ConnectionResetError(104, "Connection reset by peer"), "dropped"),
        (aiohttp.InvalidURL("https://h/x?sig=canary"), "odd_reply"),
        (aiohttp.ClientError("https://h/x?sig=canary"), "odd_reply"),
        (UnicodeError("label too long"), "dns"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_every_error_of_aiohttp_has_a_class_and_its_text_goes_no_further(foreign, error_class):
    with pytest.raises(TransferError) as caught, foreign_errors("h.test"):
        raise foreign
    assert caught.value.error_class == error_class
    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_a_signed_url_is_in_no_text_of_an_error_of_the_real_client():
    async with LyingServer([b"220 not http\r\n\r\n"]) as server:
        error = await error_of(f"{server.url}/x?X-Amz-Signature=canary")
    assert error.error_class == "odd_reply"
    assert "canary" not in "".join(traceback.format_exception(error))
