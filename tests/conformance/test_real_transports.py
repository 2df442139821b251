"""The rules of the real transports that a script cannot break: names, proxies, TLS, kept connections, what is not HTTP."""

import asyncio
import socket
import traceback

import pytest

from asyncdl.core.reply import Pinned
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.errors import ConfigError, TransferError
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from asyncdl.net.remote import RemoteObject
from asyncdl.net.s3_access import require_access
from asyncdl.net.transport import Request
from tests.support.lying_server import LyingServer
from tests.support.replies import Reply

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.1"


async def error_of(real, url, **options):
    async with real() as transport:
        with pytest.raises(TransferError) as caught:
            async with transport.open(Request(url, **options)) as response:
                await response.read(1 << 20)
    return caught.value


async def test_a_guarded_name_with_a_private_address_is_refused_before_anything_is_sent(real, names):
    names["inside.test"] = ["127.0.0.1"]
    async with LyingServer([Reply()]) as server:
        error = await error_of(real, f"http://inside.test:{server.port}/x", guarded=True)
        assert error.error_class == "private_address"
        assert server.heard == []


async def test_one_private_address_among_public_ones_suffices_to_refuse(real, names):
    names["rebound.test"] = [PUBLIC, PRIVATE]
    assert (await error_of(real, "http://rebound.test:9/x", guarded=True)).error_class == "private_address"


async def test_an_unguarded_name_may_be_private(real, names):
    names["inside.test"] = ["127.0.0.1"]
    async with (
        LyingServer([Reply()]) as server,
        real() as transport,
        transport.open(Request(f"http://inside.test:{server.port}/x")) as response,
    ):
        assert response.status == 200
        assert server.heard[0].headers == {"host": f"inside.test:{server.port}"}


async def test_what_the_unguarded_session_resolved_is_not_trusted_by_the_guarded_one(real, names):
    names["inside.test"] = ["127.0.0.1"]
    async with LyingServer([Reply()] * 2) as server, real() as transport:
        url = f"http://inside.test:{server.port}/x"
        async with transport.open(Request(url)):
            pass
        with pytest.raises(TransferError, match="not public"):
            async with transport.open(Request(url, guarded=True)):
                pytest.fail("the kept connection was used")


@pytest.mark.parametrize("guarded", [False, True])
async def test_an_unknown_name_is_dns(real, names, guarded):
    assert (await error_of(real, "http://nowhere.test/x", guarded=guarded)).error_class == "dns"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test"])
async def test_what_cannot_be_a_name_is_dns(real, host):
    assert (await error_of(real, f"http://{host}/x")).error_class == "dns"


async def test_a_port_nobody_listens_on_is_connect(real):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert (await error_of(real, f"http://127.0.0.1:{port}/x")).error_class == "connect"


async def test_a_proxy_of_the_environment_is_used_and_may_be_private(real, names, monkeypatch):
    names["proxy.test"] = ["127.0.0.1"]
    async with LyingServer([Reply(200, {}, (b"by proxy",))] * 2) as server:
        monkeypatch.setenv("http_proxy", f"http://proxy.test:{server.port}")
        async with real() as transport:
            for guarded in (False, True):
                async with transport.open(Request("http://public.test/x?y=%2F", guarded=guarded)) as response:
                    assert await response.read(100) == b"by proxy"
    assert [heard.target for heard in server.heard] == ["http://public.test/x?y=%2F"] * 2


async def test_a_guarded_literal_is_refused_though_a_proxy_would_take_it(real, monkeypatch):
    async with LyingServer() as server:
        monkeypatch.setenv("http_proxy", server.url)
        assert (await error_of(real, "http://169.254.169.254/x", guarded=True)).error_class == "private_address"
        assert server.heard == []


async def test_no_proxy_is_honoured(real, monkeypatch):
    async with LyingServer([Reply(200, {}, (b"direct",))]) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with real() as transport, transport.open(Request(f"{server.url}/x")) as response:
            assert await response.read(100) == b"direct"


async def test_a_connection_is_kept_after_a_whole_body_and_given_up_after_a_part_of_one(real):
    whole, part = Reply(200, {}, (b"abc",)), Reply(200, {}, (b"abc",), length_bytes=1000)
    async with LyingServer([whole, part, whole]) as server, real() as transport:
        for _ in range(3):
            async with transport.open(Request(f"{server.url}/x")) as response:
                async for _block in response.blocks():
                    break
    assert [heard.connection for heard in server.heard] == [0, 0, 1]


async def test_a_kept_connection_that_the_host_has_closed_is_no_error(real):
    replies = [Reply(200, {}, (b"abc",), ends="fin"), Reply(200, {}, (b"def",))]
    async with LyingServer(replies) as server, real() as transport:
        for body in (b"abc", b"def"):
            async with transport.open(Request(f"{server.url}/x")) as response:
                assert await response.read(100) == body


async def test_an_interim_answer_is_passed_over(real):
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    async with (
        LyingServer([answer]) as server,
        real() as transport,
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
async def test_what_is_not_http_is_an_odd_reply(real, answer):
    async with LyingServer([answer] * 2) as server:
        assert (await error_of(real, f"{server.url}/x")).error_class == "odd_reply"


async def test_a_chunk_size_that_is_no_number_ends_the_body_with_an_error(real):
    async with LyingServer([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"] * 2) as server:
        assert (await error_of(real, f"{server.url}/x")).error_class in ("odd_reply", "short_body")


async def test_a_host_that_speaks_no_tls_is_tls(real):
    async def talk(_reader, writer):
        writer.write(b"220 ftp.example.org ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        assert (await error_of(real, url)).error_class == "tls"


async def test_a_certificate_nobody_vouches_for_is_tls(real, tls):
    async with LyingServer(tls=tls) as server:
        error = await error_of(real, f"https://localhost:{server.port}/x")
        assert error.error_class == "tls"
        assert server.heard == []


async def test_an_authority_of_the_environment_is_trusted(real, tls, trusted):
    async with (
        LyingServer([Reply(200, {}, (b"safe",))], tls=tls) as server,
        real() as transport,
        transport.open(Request(f"https://localhost:{server.port}/x")) as response,
    ):
        assert await response.read(10) == b"safe"


async def test_a_signed_url_is_in_no_text_of_an_error_of_the_real_client(real):
    async with LyingServer([b"220 not http\r\n\r\n"] * 2) as server:
        error = await error_of(real, f"{server.url}/x?X-Amz-Signature=canary")
    assert error.error_class == "odd_reply"
    assert "canary" not in "".join(traceback.format_exception(error))


REFUSALS = {
    "ExpiredToken": (400, "keys_expired"),
    "InvalidAccessKeyId": (403, "bad_keys"),
    "Unauthorized": (401, "bad_keys"),
}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("code", REFUSALS)
async def test_s3_says_why_it_refuses_whether_its_answer_has_a_length_or_not(real, code, framing):
    status, error_class = REFUSALS[code]
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    reply = Reply(status, {"Content-Type": "application/xml"}, (document,), framing=framing)
    async with LyingServer(lambda _heard: reply) as server, real() as transport:
        keys = S3Keys(aws_endpoint=server.url, aws_key_id="AKIA", aws_secret=Secret("canary"))
        client = Client(transport, Credentials("https://hub.test", None, keys), Gates(), allow_private=True)
        url = f"{server.url}/bucket/key"
        with pytest.raises(ConfigError):
            await require_access(client, url)
        with pytest.raises(TransferError) as caught:
            async with RemoteObject(client, url).open(None, Pinned(5)):
                pytest.fail("a refusal was taken for the object")
    assert caught.value.error_class == error_class
