"""What every Transport does, real or scripted: the rules that the rooms above rely on."""

import gzip

import pytest

from asyncdl.errors import TransferError
from asyncdl.net.transport import Request
from tests.conformance.stages import STALL_S, loopback, own, scripted
from tests.support.replies import Reply, redirect

BODY = bytes(range(256)) * 40


@pytest.fixture(params=[loopback, own, scripted], ids=["aiohttp", "own", "scripted"])
def stage(request):
    return request.param


async def body_of(response):
    return b"".join([block async for block in response.blocks()])


async def error_of(stage, reply):
    """The error class that a body meets, and what came before it."""
    came = bytearray()
    async with stage([reply]) as play:
        with pytest.raises(TransferError) as caught:
            async with play.open() as response:
                async for block in response.blocks():
                    came += block
    return caught.value.error_class, bytes(came)


async def test_status_headers_and_body_are_those_of_the_answer(stage):
    reply = Reply(206, {"Content-Range": "bytes 0-10239/20000", "ETag": '"a"', "X-Odd-NAME": "Kept As Is"}, (BODY,))
    async with stage([reply]) as play, play.open() as response:
        assert response.status == 206
        assert response.headers["content-range"] == "bytes 0-10239/20000"
        assert response.headers["x-odd-name"] == "Kept As Is"
        assert response.headers["content-length"] == str(len(BODY))
        assert all(name == name.lower() for name in response.headers)
        assert await body_of(response) == BODY


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_the_blocks_are_the_body_in_order_however_it_is_framed(stage, framing):
    blocks = tuple(BODY[at : at + 1000] for at in range(0, len(BODY), 1000))
    async with stage([Reply(200, {}, blocks, framing=framing)]) as play, play.open() as response:
        assert await body_of(response) == BODY
        assert ("content-length" in response.headers) == (framing == "length")


async def test_an_empty_body_has_no_blocks(stage):
    async with stage([Reply(200)]) as play, play.open() as response:
        assert [block async for block in response.blocks()] == []


async def test_a_block_is_a_view_that_a_file_takes_as_it_is(stage, tmp_path):
    async with stage([Reply(200, {}, (BODY,))]) as play, play.open() as response:
        with (tmp_path / "x").open("wb") as file:
            async for block in response.blocks():
                assert isinstance(block, memoryview)
                file.write(block)
    assert (tmp_path / "x").read_bytes() == BODY


async def test_bytes_that_are_no_text_come_back_from_a_header_as_they_were(stage):
    async with stage([redirect("/caf\udce9")]) as play, play.open() as response:
        assert response.headers["location"].encode("utf-8", "surrogateescape") == b"/caf\xe9"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_refusal_is_an_answer_however_it_is_framed(stage, framing):
    reply = Reply(404, {"X-Why": "gone"}, (b"no such page",), framing=framing)
    async with stage([reply]) as play, play.open() as response:
        assert (response.status, response.headers["x-why"]) == (404, "gone")
        assert await response.read(1 << 20) in (b"no such page", b"")


async def test_the_request_is_sent_as_it_stands_with_no_header_of_the_transports_own(stage):
    target = "/a%2Fb/%C3%A9%20c?sig=a%2Bb+c==&x=%7e~!$'()*,;:@"
    headers = {"Range": "bytes=0-9", "Accept-Encoding": "identity", "X-Odd": "a, b"}
    async with stage([Reply(200)]) as play:
        async with play.transport.open(Request(play.url + target, headers)):
            pass
        assert play.asked[0].target == target
        assert play.asked[0].headers == {name.lower(): text for name, text in headers.items()}


async def test_a_redirect_is_an_answer_like_any_other(stage):
    async with stage([redirect("/elsewhere", 307)]) as play:
        async with play.open() as response:
            assert (response.status, response.headers["location"]) == (307, "/elsewhere")
        assert len(play.asked) == 1


async def test_nothing_is_decoded(stage):
    packed = gzip.compress(BODY, mtime=0)
    async with stage([Reply(200, {"Content-Encoding": "gzip"}, (packed,))]) as play, play.open() as response:
        assert response.headers["content-encoding"] == "gzip"
        assert await response.read(1 << 20) == packed


async def test_no_cookie_is_kept(stage):
    async with stage([Reply(200, {"Set-Cookie": "a=b; Path=/"}), Reply(200)]) as play:
        for _ in range(2):
            async with play.open():
                pass
        assert play.asked[1].headers == {}


async def test_no_password_file_is_read(stage, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\nmachine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with stage([Reply(200)]) as play:
        async with play.open():
            pass
        assert "authorization" not in play.asked[0].headers


async def test_read_returns_a_body_of_just_the_limit(stage):
    async with stage([Reply(200, {}, (BODY,))]) as play, play.open() as response:
        assert await response.read(len(BODY)) == BODY


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_read_refuses_a_body_beyond_the_limit(stage, framing):
    async with stage([Reply(200, {}, (BODY,), framing=framing)]) as play, play.open() as response:
        with pytest.raises(TransferError) as caught:
            await response.read(len(BODY) - 1)
        assert caught.value.error_class == "odd_reply"


@pytest.mark.parametrize("ends", ["fin", "reset"])
async def test_a_connection_that_ends_before_an_answer_was_dropped(stage, ends):
    async with stage([Reply(silent=True, ends=ends)] * 2) as play:  # aiohttp may ask once more by itself
        with pytest.raises(TransferError) as caught:
            async with play.open():
                pytest.fail("there was an answer")
        assert caught.value.error_class == "dropped"


async def test_silence_before_the_answer_is_a_stall(stage):
    async with stage([Reply(silent=True, ends="stall")]) as play:
        with pytest.raises(TransferError) as caught:
            async with play.open():
                pytest.fail("there was an answer")
        assert caught.value.error_class == "stalled"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_that_ends_early_is_short_and_what_came_is_given(stage, framing):
    reply = Reply(200, {}, (BODY,), framing=framing, length_bytes=len(BODY) + 1, ends="fin")
    assert await error_of(stage, reply) == ("short_body", BODY)


async def test_a_body_that_is_cut_by_a_reset_is_short(stage):
    error_class, came = await error_of(stage, Reply(200, {}, (BODY,), length_bytes=2 * len(BODY), ends="reset"))
    assert error_class == "short_body"
    assert BODY.startswith(came)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_body_that_stops_moving_is_a_stall_and_what_came_is_given(stage, framing):
    reply = Reply(200, {}, (BODY,), framing=framing, length_bytes=len(BODY) + 1, ends="stall")
    assert await error_of(stage, reply) == ("stalled", BODY)


async def test_a_body_that_moves_slowly_is_no_stall(stage):
    blocks = tuple(BODY[at : at + 1024] for at in range(0, len(BODY), 1024))
    gap_s = STALL_S / 6
    assert gap_s * len(blocks) > STALL_S
    async with stage([Reply(200, {}, blocks, gap_s=gap_s)]) as play, play.open() as response:
        assert await body_of(response) == BODY


async def test_a_body_longer_than_announced_gives_no_byte_more(stage):
    came = bytearray()
    try:
        async with stage([Reply(200, {}, (BODY,), length_bytes=100, ends="fin")]) as play, play.open() as response:
            async for block in response.blocks():
                came += block
    except TransferError as error:  # a parser may see the rest in time and refuse the whole
        assert error.error_class == "odd_reply"
    else:
        assert len(came) == 100
    assert BODY[:100].startswith(came)


async def test_a_body_without_length_ends_where_the_connection_does(stage):
    async with stage([Reply(200, {}, (BODY,), framing="close", ends="fin")]) as play, play.open() as response:
        assert await response.read(1 << 20) == BODY


async def test_a_header_beyond_reason_is_an_odd_reply(stage):
    async with stage([Reply(200, {"X-Long": "x" * 70_000})] * 2) as play:
        with pytest.raises(TransferError) as caught:
            async with play.open():
                pytest.fail("there was an answer")
        assert caught.value.error_class == "odd_reply"


async def test_who_leaves_before_the_end_drops_the_connection(stage):
    async with stage([Reply(200, {}, (BODY,), length_bytes=1 << 30, ends="stall")]) as play:
        async with play.open() as response:
            async for block in response.blocks():
                assert BODY.startswith(block)
                break
        await play.dropped()


async def test_who_leaves_with_an_error_drops_the_connection_and_keeps_the_error(stage):
    async with stage([Reply(200, {}, (BODY,), length_bytes=1 << 30, ends="stall")]) as play:
        with pytest.raises(ZeroDivisionError):
            async with play.open():
                raise ZeroDivisionError
        await play.dropped()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "localhost", "a.localhost", "127.1"]
)
async def test_a_guarded_request_goes_to_no_private_address(stage, host):
    async with stage([]) as play:
        with pytest.raises(TransferError) as caught:
            async with play.transport.open(Request(f"http://{host}:9/x", guarded=True)):
                pytest.fail("there was an answer")
        assert caught.value.error_class == "private_address"
        assert play.asked == []
