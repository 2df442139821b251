"""Buckets against a real S3 server that checks signatures: listings, objects, refusals."""

import asyncio
import hashlib
import sys
import time

import pytest

from asyncdl.core.model import Digest
from asyncdl.core.names import quote_path
from asyncdl.core.s3 import refusal_of
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.errors import ConfigError, UsageError
from asyncdl.net.aiohttp_transport import AiohttpTransport
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.fetch import make_fetcher
from asyncdl.net.gates import Gates
from asyncdl.sources.resolve import Selection, resolve
from tests.acceptance.conftest import Shell
from tests.support.weed import BLIND_KEY_ID, BLIND_SECRET

HUB = "http://127.0.0.1:9"  # the discard port: nothing listens there
NAMES = ["a", "a b", "a+b", "a%20b", "a&b=c", "a#b?", "d/e/f.parquet", "d/é/ü x.txt", "d~!*'()@;,$=", "d/日本語.mp3"]


@pytest.fixture(scope="module")
def bucket(weed):
    objects = {name: name.encode() * 3 for name in NAMES}
    weed.fill("names", objects)
    weed.fill("open", {"free.txt": b"free"})
    weed.fill("many", {f"p/{n:05d}": b"" for n in range(1003)})
    return objects


async def listed(keys, target, **selection):
    async with make_fetcher(HUB, None, allow_private=True, keys=keys) as fetcher:
        found = await resolve(target, Selection(**selection), fetcher=fetcher, endpoint=HUB)
        return found, [artifact async for artifact in found.artifacts]


async def test_what_was_put_is_listed_and_each_object_opens_with_its_signature(weed, bucket):
    async with make_fetcher(HUB, None, allow_private=True, keys=weed.keys()) as fetcher:
        found = await resolve("s3://names", Selection(), fetcher=fetcher, endpoint=HUB)
        got = {}
        async for artifact in found.artifacts:
            answer = await fetcher.get(f"{found.origin}/{quote_path(artifact.path)}")
            assert (answer.status, answer.headers["etag"]) == (200, artifact.validator)
            assert len(answer.body) == artifact.size_bytes
            got[artifact.path] = (answer.body, artifact.digest)
    assert got == {name: (content, Digest("md5", hashlib.md5(content).hexdigest())) for name, content in bucket.items()}


async def test_r2s_variables_open_a_bucket_as_well(weed, bucket):
    keys = S3Keys(r2_endpoint=weed.endpoint, r2_key_id=weed.keys().aws_key_id, r2_secret=weed.keys().aws_secret)
    found, artifacts = await listed(keys, "r2://names/d/")
    assert found.name == "r2://names"
    assert {artifact.path for artifact in artifacts} == {name for name in NAMES if name.startswith("d/")}


async def test_a_listing_of_many_pages_is_whole(weed, bucket):
    _, artifacts = await listed(weed.keys(), "s3://many/p")
    assert [artifact.path for artifact in artifacts] == [f"p/{n:05d}" for n in range(1003)]


async def test_an_open_bucket_needs_no_keys(weed, bucket):
    _, artifacts = await listed(S3Keys(aws_endpoint=weed.endpoint, aws_unsigned=True), "s3://open")
    assert [artifact.path for artifact in artifacts] == ["free.txt"]


@pytest.mark.parametrize(
    "changed",
    [
        {"aws_secret": Secret("wrong")},
        {"aws_key_id": "AKIANOBODY"},
        {"aws_key_id": BLIND_KEY_ID, "aws_secret": Secret(BLIND_SECRET)},
        {"aws_unsigned": True},
    ],
    ids=["wrong secret", "nobody's key", "no right", "no key"],
)
async def test_wrong_keys_are_a_matter_of_settings(weed, bucket, changed):
    with pytest.raises(ConfigError) as caught:
        await listed(weed.keys(**changed), "s3://names")
    assert "AWS_" in f"{caught.value.message} {caught.value.hint}"


async def test_a_bucket_that_is_not_there_is_named(weed, bucket):
    with pytest.raises(UsageError, match="no bucket s3://missing"):
        await listed(weed.keys(), "s3://missing")


async def test_an_object_that_was_replaced_is_not_sent(weed):
    weed.fill("change", {"a": b"old"})
    _, [artifact] = await listed(weed.keys(), "s3://change")
    statuses = []
    async with AiohttpTransport() as transport:
        credentials = Credentials(HUB, None, weed.keys())
        client = Client(transport, credentials, Gates())
        url = f"{credentials.endpoint_for('s3')}/change/a"
        for content in (b"old", b"new"):
            weed.put("change", "a", content)
            async with client.hop(url, guarded=False, now=time.time(), validator=artifact.validator) as response:
                statuses.append(response.status)
    assert statuses == [200, 412]


async def test_a_clock_that_is_wrong_is_told_from_a_right_that_is_missing(weed, bucket):
    async with AiohttpTransport() as transport:
        credentials = Credentials(HUB, None, weed.keys())
        client = Client(transport, credentials, Gates())
        url = f"{credentials.endpoint_for('s3')}/names/a"
        async with client.hop(url, guarded=False, now=time.time() - 3600) as response:
            assert response.status == 403
            error = refusal_of(await response.read(65536))
    assert error is not None
    assert error.error_class == "clock_wrong"


# --- through the command line


@pytest.fixture
def shell(weed, bucket, tmp_path):
    shell = Shell(tmp_path)
    shell.env |= weed.environ
    return shell


async def test_a_bucket_is_enqueued_and_no_secret_is_stored(shell, weed):
    done = await shell("enqueue", "s3://names/d", "--json")
    assert done.code == 0, done.err
    assert (done.json()["dataset"], done.json()["files"], done.json()["enqueued"]) == ("s3://names", 3, 3)
    stored = b"".join(path.read_bytes() for path in shell.folder.rglob("*") if path.is_file())
    assert f"{weed.endpoint}/names".encode() in stored
    for secret in (weed.environ["AWS_SECRET_ACCESS_KEY"], weed.environ["AWS_ACCESS_KEY_ID"]):
        assert secret.encode() not in stored


@pytest.mark.parametrize(
    ("target", "env", "code", "says"),
    [
        ("r2://names/d", {}, 3, "R2_ENDPOINT_URL"),
        ("s3://names/d", {"AWS_SECRET_ACCESS_KEY": ""}, 3, "AWS_SECRET_ACCESS_KEY"),
        ("s3://names/d", {"AWS_SECRET_ACCESS_KEY": "wrong"}, 3, "AWS_SECRET_ACCESS_KEY"),
        ("s3://names/dd/", {}, 2, "did you mean d?"),
        ("s3://missing", {}, 2, "no bucket"),
    ],
)
async def test_what_cannot_be_enqueued_says_why_and_leaves_no_queue(shell, target, env, code, says):
    done = await shell("enqueue", target, **env)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert not (shell.folder / "queue.sqlite").exists()


async def test_aws_s_own_chain_is_asked_where_the_environment_has_no_keys(shell, weed):
    folder = shell.folder / "home" / ".aws"
    folder.mkdir(parents=True)
    keys = {name: weed.environ[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")}
    lines = ["[mine]", *(f"{name} = {value}" for name, value in keys.items())]
    (folder / "credentials").write_text("\n".join(lines))
    bare = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = await shell("enqueue", "s3://names/d", "--dry-run", "--json", AWS_PROFILE="mine", **bare)
    assert done.code == 0, done.err
    assert done.json()["files"] == 3
    done = await shell("enqueue", "s3://names/d", AWS_PROFILE="nobody", **bare)
    assert (done.code, "nobody" in done.err) == (3, True)
    done = await shell("enqueue", "s3://open", "--dry-run", "--json", **bare)  # no keys anywhere: asked unsigned
    assert (done.code, done.json()["files"]) == (0, 1)
    done = await shell("enqueue", "s3://names/d", **bare)
    assert (done.code, "AWS_ACCESS_KEY_ID" in done.err) == (3, True)


HEAVY = ("aiobotocore", "botocore", "boto3")


@pytest.mark.parametrize(
    "args", [["enqueue", "s3://names/d", "--dry-run"], ["enqueue", "https://127.0.0.1:9/a", "--dry-run"], ["--help"]]
)
async def test_with_keys_at_hand_or_no_bucket_nothing_of_aws_is_imported(shell, args):
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))\n"
        f"sys.argv = ['asyncdl', *{args!r}]\n"
        "from asyncdl.cli.main import main\nmain()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=shell.folder, env=shell.env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    done = await shell.result(process)
    assert done.code == 0, done.err
    assert done.err.endswith("[]\n")
