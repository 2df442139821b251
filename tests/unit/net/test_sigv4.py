"""What is signed is what AWS's own signer signs, goes to its own origin, and shows no secret."""

from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoKeys
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.ranges import ByteRange
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.core.sigv4 import derive, signed_headers, stamp_of
from asyncdl.errors import ConfigError, TransferError
from asyncdl.net import aws_chain
from asyncdl.net.credentials import Credentials

KEY_ID, SECRET, TOKEN = "AKIAcanary", "canary/secret+key", "canarySESSION=="
NOW = 1_795_194_000.0  # 2026-11-20T17:00:00Z
DAY_S = 86400

R2 = "https://acc.r2.test"
HUB = "https://hub.test"

TEXT = st.text(st.one_of(st.sampled_from(" +%/=&?#~*'()!@:;,."), st.characters(codec="utf-8")), max_size=30)
HOSTS = st.sampled_from(["b.test", "B.test", "b.test:443", "b.test:80", "127.0.0.1:8333", "[::1]:8333", "[::1]"])


def boto_headers(url, region, token, now):
    """What botocore sends for a GET, its clock stopped at `now`."""
    moment = datetime.fromtimestamp(now, UTC)
    request = AWSRequest("GET", url)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment.replace(tzinfo=None))
        botocore.auth.S3SigV4Auth(BotoKeys(KEY_ID, SECRET, token), "s3", region).add_auth(request)
    return dict(request.headers.items())


def our_headers(url, region, token, now):
    stamp = stamp_of(now)
    return signed_headers(url, derive(KEY_ID, SECRET, stamp[:8], region), stamp, token)


def same(ours, theirs):
    return {name.lower(): value for name, value in ours.items()} == {
        name.lower(): value for name, value in theirs.items()
    }


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    key=TEXT,
    query=st.dictionaries(TEXT, TEXT, max_size=4),
    region=st.sampled_from(["auto", "eu-north-1"]),
    token=st.sampled_from([None, TOKEN]),
    now=st.floats(NOW - 400 * DAY_S, NOW + 400 * DAY_S),
)
def test_every_request_is_signed_as_botocore_signs_it(scheme, host, key, query, region, token, now):
    url = f"{scheme}://{host}/bucket/{quote(key, safe='/')}"
    if query:
        url += "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
    ours = our_headers(url, region, token, now)
    assert same(ours, boto_headers(url, region, token, now))


@pytest.mark.parametrize("url", ["https://b.test/", "https://b.test/b?acl", "https://b.test/b?b&a=&a=1", "https://b.test/b//x/../y"])  # fmt: skip
def test_odd_urls_too(url):
    assert same(our_headers(url, "auto", None, NOW), boto_headers(url, "auto", None, NOW))


# --- who gets a signature


def keys(**more):
    return S3Keys(**{"r2_endpoint": R2, "r2_key_id": KEY_ID, "r2_secret": Secret(SECRET)} | more)


def aws(**more):
    return S3Keys(**{"aws_key_id": KEY_ID, "aws_secret": Secret(SECRET), "aws_region": "eu-north-1"} | more)


async def headers_for(url, *, keys, schemes=("r2",), token=None, **more):
    credentials = Credentials(HUB, token, keys)
    for scheme in schemes:
        credentials.endpoint_for(scheme)
    return await credentials.headers(url, **{"now": NOW} | more)


@pytest.mark.parametrize(
    "url",
    [
        "https://hub.test/a", "http://acc.r2.test/b/a", "https://acc.r2.test:8443/b/a", "https://r2.test/b/a",
        "https://x.acc.r2.test/b/a", "https://acc.r2.test.evil.example/b/a", "https://acc.r2.test@evil.example/b/a",
        "https://s3.eu-north-1.amazonaws.com/b/a",
    ],
)  # fmt: skip
async def test_only_the_endpoint_that_was_asked_for_gets_a_signature(url):
    headers = await headers_for(url, keys=keys(aws_key_id=KEY_ID, aws_secret=Secret(SECRET)))
    assert KEY_ID not in str(headers)
    assert "If-Match" not in headers


async def test_the_hubs_token_does_not_go_to_the_bucket_nor_the_keys_to_the_hub():
    both = {"keys": keys(), "token": Secret("hf_canary")}
    assert "hf_canary" not in str(await headers_for(f"{R2}/b/a", **both))
    assert KEY_ID not in str(await headers_for(f"{HUB}/a", **both))


async def test_a_host_is_not_signed_for_before_a_bucket_there_is_named():
    assert "Authorization" not in await headers_for(f"{R2}/b/a", keys=keys(), schemes=())
    credentials = Credentials(HUB, None, keys())
    credentials.sign_for(f"{R2}/b")
    assert "Authorization" in await credentials.headers(f"{R2}/b/a", now=NOW)


async def test_a_url_with_a_signature_of_its_own_gets_no_second_one():
    assert "Authorization" not in await headers_for(f"{R2}/b/a?X-Amz-Signature=abc", keys=keys())


async def test_an_etag_goes_along_as_if_match_and_a_date_does_not():
    signed = await headers_for(f"{R2}/b/a", keys=keys(), validator='"abc"', asked=ByteRange(0, 5))
    assert (signed["If-Match"], signed["Range"]) == ('"abc"', "bytes=0-4")
    dated = await headers_for(f"{R2}/b/a", keys=keys(), validator="Fri, 20 Nov 2026 17:00:00 GMT")
    assert "If-Match" not in dated


async def test_the_headers_are_those_of_the_signer_at_every_second_and_day():
    credentials = Credentials(HUB, None, keys())
    credentials.endpoint_for("r2")
    url = f"{R2}/b/a"
    for now in (NOW, NOW + 0.5, NOW + 1, NOW + DAY_S, NOW, NOW - DAY_S):
        sent = await credentials.headers(url, now=now)
        assert our_headers(url, "auto", None, now).items() <= sent.items()


async def test_aws_is_asked_in_the_region_of_its_host_and_with_the_session_token():
    found = Credentials(HUB, None, aws(aws_session_token=Secret(TOKEN)))
    assert found.endpoint_for("s3") == "https://s3.eu-north-1.amazonaws.com"
    assert found.endpoint_for("s3", "us-west-2") == "https://s3.us-west-2.amazonaws.com"
    assert found.endpoint_for("s3", "cn-north-1") == "https://s3.cn-north-1.amazonaws.com.cn"
    url = "https://s3.us-west-2.amazonaws.com/b/a"
    assert our_headers(url, "us-west-2", TOKEN, NOW).items() <= (await found.headers(url, now=NOW)).items()


async def test_another_endpoint_of_s3_takes_the_place_of_aws():
    there = aws(aws_endpoint="http://127.0.0.1:8333/")
    assert Credentials(HUB, None, there).endpoint_for("s3", "us-west-2") == "http://127.0.0.1:8333"
    for url, is_signed in (("http://127.0.0.1:8333/b/a", True), ("https://s3.eu-north-1.amazonaws.com/b/a", False)):
        assert ("Authorization" in await headers_for(url, keys=there, schemes=("s3",))) is is_signed


async def test_unsigned_is_unsigned_whatever_keys_there_are_and_still_conditional(chain):
    chain.found = Renewable([1])
    headers = await headers_for(
        "https://s3.eu-north-1.amazonaws.com/b/a", keys=aws(aws_unsigned=True), schemes=("s3",), validator='"v"'
    )
    assert headers["If-Match"] == '"v"'
    assert "Authorization" not in headers
    assert chain.n_searches == 0


# --- what is missing is named


@pytest.mark.parametrize(
    ("scheme", "held", "names"),
    [
        ("r2", S3Keys(), "R2_ENDPOINT_URL, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY are"),
        ("r2", keys(r2_endpoint="", r2_account_id="nonsense"), "R2_ENDPOINT_URL"),
        ("r2", keys(r2_key_id=""), "R2_ACCESS_KEY_ID"),
        ("r2", keys(r2_secret=None), "R2_SECRET_ACCESS_KEY"),
        ("r2", keys(r2_key_id="", r2_secret=None), "R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY"),
        ("r2", keys(r2_key_id="a\nb"), "R2_ACCESS_KEY_ID"),
        ("r2", keys(r2_endpoint="https://acc.r2.test/bucket"), "R2_ENDPOINT_URL"),
        ("r2", keys(r2_endpoint="https://user:canaryPASSWORD@acc.r2.test"), "R2_ENDPOINT_URL"),
        ("r2", keys(r2_endpoint="acc.r2.test"), "R2_ENDPOINT_URL"),
        ("s3", aws(aws_endpoint="ftp://x"), "AWS_ENDPOINT_URL"),
        ("s3", aws(aws_secret=None), "AWS_SECRET_ACCESS_KEY"),
        ("s3", aws(aws_key_id=""), "AWS_ACCESS_KEY_ID"),
        ("s3", aws(aws_region="x.evil.example/"), "region"),
    ],
)
def test_what_is_missing_or_wrong_is_named_before_anything_is_asked(scheme, held, names):
    with pytest.raises(ConfigError) as caught:
        Credentials(HUB, None, held).endpoint_for(scheme)
    assert names in caught.value.message
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "url",
    [
        "https://other.test/b", "http://s3.eu-north-1.amazonaws.com/b", "https://s3.eu-north-1.amazonaws.com:8443/b",
        "https://s3.eu-north-1.amazonaws.com.evil.example/b", "https://evil.s3.eu-north-1.amazonaws.com/b",
    ],
)  # fmt: skip
def test_an_origin_that_is_none_of_ours_is_refused_rather_than_asked_without_a_word(url):
    with pytest.raises(ConfigError, match="no S3 settings"):
        Credentials(HUB, None, aws()).sign_for(url)


def test_an_account_id_names_the_endpoint():
    held = S3Keys(r2_account_id="0" * 32, r2_key_id=KEY_ID, r2_secret=Secret(SECRET))
    assert Credentials(HUB, None, held).endpoint_for("r2") == f"https://{'0' * 32}.r2.cloudflarestorage.com"


async def test_nothing_shows_a_secret():
    held = keys(aws_secret=Secret(SECRET), aws_endpoint="https://u:canaryPASSWORD@x.test")
    credentials = Credentials(HUB, None, held)
    credentials.endpoint_for("r2")
    await credentials.headers(f"{R2}/b/a", now=NOW)
    [signer] = credentials._signers.values()
    shown = f"{held} {held!r} {credentials!r} {vars(credentials)} {signer!r} {vars(signer)}"
    assert SECRET not in shown
    assert "canaryPASSWORD" not in shown


# --- AWS's chain


class Frozen:
    def __init__(self, n):
        self.access_key, self.secret_key, self.token = f"{KEY_ID}{n}", SECRET, TOKEN


class Renewable:
    """Gives keys n = 1, 2, ... as `keys` says; an exception there is raised."""

    def __init__(self, keys):
        self.keys = list(keys)

    async def get_frozen_credentials(self):
        now = self.keys.pop(0)
        if isinstance(now, Exception):
            raise now
        return Frozen(now)


@pytest.fixture
def chain(monkeypatch):
    """Let AWS's session find what `chain.found` is; an exception is raised."""

    class Session:
        found = None
        n_searches = 0

        def get_session(self):
            return self

        async def get_credentials(self):
            self.n_searches += 1
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

    session = Session()
    imported = {"aiobotocore.session": session}
    monkeypatch.setattr(aws_chain.importlib, "import_module", imported.__getitem__)
    return session


S3_URL = "https://s3.us-east-1.amazonaws.com/b/a"


async def key_id_at(credentials, now):
    authorization = (await credentials.headers(S3_URL, now=now)).get("Authorization", "")
    return authorization.partition("Credential=")[2].partition("/")[0]


def chained():
    credentials = Credentials(HUB, None, S3Keys())
    credentials.endpoint_for("s3")
    return credentials


async def test_keys_of_the_chain_are_looked_at_again_and_renewed(chain):
    chain.found = Renewable([1, 1, 2])
    credentials = chained()
    times = (NOW, NOW + 59, NOW + 61, NOW + 100, NOW + 130)
    assert [await key_id_at(credentials, now) for now in times] == [f"{KEY_ID}{n}" for n in (1, 1, 1, 1, 2)]
    assert chain.n_searches == 1


async def test_without_any_keys_the_request_goes_out_unsigned_for_the_bucket_may_be_public(chain):
    assert "Authorization" not in await chained().headers(S3_URL, now=NOW)
    assert chain.n_searches == 1


async def test_a_search_that_fails_is_a_matter_of_settings_and_a_renewal_that_fails_one_of_time(chain):
    chain.found = OSError("canary")
    with pytest.raises(ConfigError, match="cannot be had"):
        await chained().headers(S3_URL, now=NOW)
    chain.found = Renewable([1, TimeoutError(), 2])
    credentials = chained()
    await key_id_at(credentials, NOW)
    with pytest.raises(TransferError) as caught:
        await key_id_at(credentials, NOW + 61)
    assert caught.value.error_class == "keys_expired"
    assert await key_id_at(credentials, NOW + 62) == f"{KEY_ID}1"
    assert await key_id_at(credentials, NOW + 122) == f"{KEY_ID}2"


def test_the_judge_signs_the_host_of_the_url():
    """Were it not so, the comparison above would prove nothing about hosts."""
    urls = ("https://a.test/b", "https://b.test/b")
    assert boto_headers(urls[0], "auto", None, NOW) != boto_headers(urls[1], "auto", None, NOW)
    assert urlsplit(urls[0]).path == urlsplit(urls[1]).path
