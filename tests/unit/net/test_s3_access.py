"""Keys that open nothing end a run before it begins; everything else is left to the jobs."""

import pytest

from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.errors import ConfigError, TransferError
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from asyncdl.net.s3_access import require_access
from tests.support.replies import Reply
from tests.support.scripted_transport import ScriptedTransport

KEYS = S3Keys(aws_endpoint="https://s3.test", aws_key_id="AKIAcanary", aws_secret=Secret("canary"))
NOBODY = S3Keys(aws_endpoint="https://s3.test", aws_unsigned=True)
URL = "https://s3.test/b/a"


def error(status, code):
    return Reply(status, {}, (f"<Error><Code>{code}</Code></Error>".encode(),))


async def ask(reply, keys=KEYS):
    transport = ScriptedTransport([reply])
    await require_access(Client(transport, Credentials("https://hub.test", None, keys), Gates()), URL)
    return transport.asked


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "InvalidAccessKeyId", "keys"), (403, "SignatureDoesNotMatch", "keys"), (401, "Unauthorized", "keys"),
        (400, "ExpiredToken", "expired"), (403, "RequestTimeTooSkewed", "clock"),
    ],
)  # fmt: skip
async def test_keys_that_open_nothing_are_refused(status, code, says):
    with pytest.raises(ConfigError) as caught:
        await ask(error(status, code))
    assert says in caught.value.message
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(206, {"Content-Range": "bytes 0-0/5"}, (b"x",)), Reply(200, {}, (b"xxxxx",)), Reply(404), Reply(416), Reply(500),
        error(403, "AccessDenied"), error(403, "InvalidObjectState"), error(400, "InvalidArgument"), Reply(403),
        Reply(403, {}, (b"x" * 100_000,)), TransferError("connect", "no"), Reply(503, {"Retry-After": "9"}),
    ],
    ids=str,
)  # fmt: skip
async def test_what_says_nothing_of_the_keys_is_left_to_the_jobs(reply):
    [request] = await ask(reply)
    assert request.headers["Range"] == "bytes=0-0"
    assert "AKIAcanary" in request.headers["Authorization"]


async def test_without_keys_a_refusal_means_that_they_are_missing():
    with pytest.raises(ConfigError, match="no keys"):
        await ask(error(403, "AccessDenied"), NOBODY)
    assert await ask(Reply(206, {"Content-Range": "bytes 0-0/5"}, (b"x",)), NOBODY)


async def test_a_host_without_settings_is_not_even_asked():
    with pytest.raises(ConfigError, match="no S3 settings"):
        await ask(Reply(200), S3Keys())
