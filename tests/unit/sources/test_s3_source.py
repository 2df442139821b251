"""What of a bucket a target means, and that a listing is whole or an error."""

import tracemalloc
from urllib.parse import parse_qs, quote_plus, urlsplit
from xml.sax.saxutils import escape

import pytest

from asyncdl.core.model import Artifact, Digest
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.errors import ConfigError, RemoteError, UnsafeNameError, UsageError
from asyncdl.net.credentials import Credentials
from asyncdl.net.fetch import Answer
from asyncdl.sources.resolve import Selection, resolve

ENDPOINT = "https://r2.test"
KEYS = S3Keys(r2_endpoint=ENDPOINT, r2_key_id="AKIAcanary", r2_secret=Secret("canary"), aws_unsigned=True)
MD5 = "0123456789abcdef" * 2


def xml(inner, root="ListBucketResult"):
    return f"<{root}>{inner}</{root}>".encode()


def one(key, size=1, etag=f'"{MD5}"'):
    return f"<Contents><Key>{quote_plus(key, safe='/')}</Key><Size>{size}</Size><ETag>{escape(etag)}</ETag></Contents>"


class ScriptedBucket:
    """Answers listings of `objects` ({key: size or (size, etag)}) page by page, in the order they stand there.

    answers: by URL or by token, instead of that. home: the region the bucket is in, on AWS.
    """

    def __init__(self, objects=(), *, page_size=2, keys=KEYS, home=None):
        self.objects = dict.fromkeys(objects, 1) if not isinstance(objects, dict) else objects
        self.page_size = page_size
        self.credentials = Credentials("https://hub.test", None, keys)
        self.home = home
        self.answers = {}
        self.asked = []

    def endpoint_for(self, scheme, region=""):
        return self.credentials.endpoint_for(scheme, region)

    async def get(self, url, *, limit_bytes=16 << 20):
        self.asked.append(url)
        parts = urlsplit(url)
        query = {name: value for name, [value] in parse_qs(parts.query, strict_parsing=True).items()}
        assert list(query) == sorted(query)
        assert (query["list-type"], query["encoding-type"], parts.path) == ("2", "url", "/bucket")
        answer = self.answers.get(query.get("continuation-token", ""))
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if self.home is not None and self.home not in parts.netloc:
            return Answer(301, {"x-amz-bucket-region": self.home}, b"", url)
        return Answer(200, {}, self._page(query), url)

    def _page(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        shown, folders = [], []
        for key, facts in self.objects.items():
            if not key.startswith(prefix):
                continue
            head, found, _ = key.removeprefix(prefix).partition("/")
            if delimiter and found:
                folders += [f"{prefix}{head}/"] if f"{prefix}{head}/" not in folders else []
            else:
                shown.append(one(key, *facts) if isinstance(facts, tuple) else one(key, facts))
        at = int(query.get("continuation-token", "0"))
        rest = len(shown) > at + self.page_size
        more = f"<NextContinuationToken>{at + self.page_size}</NextContinuationToken>" if rest else ""
        rolled = "".join(
            f"<CommonPrefixes><Prefix>{quote_plus(one, safe='/')}</Prefix></CommonPrefixes>" for one in folders
        )
        head = f"<EncodingType>url</EncodingType><Prefix>x</Prefix><IsTruncated>{str(rest).lower()}</IsTruncated>{more}"
        return xml(head + "".join(shown[at : at + self.page_size]) + rolled)


async def listed(bucket, target, **selection):
    found = await resolve(target, Selection(**selection), fetcher=bucket, endpoint="https://hub.test")
    return found, [artifact async for artifact in found.artifacts]


async def paths(bucket, target, **selection):
    return [artifact.path for artifact in (await listed(bucket, target, **selection))[1]]


async def refused(bucket, target, kind, **selection):
    with pytest.raises(kind) as caught:
        await listed(bucket, target, **selection)
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


MANY = ["a b+c%20é.parquet", "data/a.parquet", "data/b/c.parquet", "data/b/d.txt", "data2/e.parquet", "z.txt"]


async def test_a_bucket_becomes_artifacts_with_md5_and_validator():
    bucket = ScriptedBucket({"a/b": (5, f'"{MD5}"'), "c": (0, '"x-3"'), "d": (2, f'W/"{MD5}"'), "e": (1, "")})
    found, artifacts = await listed(bucket, "r2://bucket")
    assert artifacts == [
        Artifact("a/b", 5, Digest("md5", MD5), f'"{MD5}"'),
        Artifact("c", 0, None, '"x-3"'),
        Artifact("d", 2, None, None),
        Artifact("e", 1, None, None),
    ]
    assert (found.name, found.source, found.revision) == ("r2://bucket", "s3", "")
    assert (found.origin, found.local_root) == ("https://r2.test/bucket", "raw/bucket")


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        ("r2://bucket", MANY),
        ("r2://bucket/", MANY),
        ("R2://bucket/data", ["data/a.parquet", "data/b/c.parquet", "data/b/d.txt"]),
        ("r2://bucket/data/", ["data/a.parquet", "data/b/c.parquet", "data/b/d.txt"]),
        ("r2://bucket/data/b", ["data/b/c.parquet", "data/b/d.txt"]),
        ("r2://bucket/z.txt", ["z.txt"]),
        ("r2://bucket/a b+c%20é.parquet", ["a b+c%20é.parquet"]),
        ("r2://bucket/data*/*.parquet", ["data/a.parquet", "data/b/c.parquet", "data2/e.parquet"]),
        ("r2://bucket/data/**/*.parquet", ["data/a.parquet", "data/b/c.parquet"]),
        ("r2://bucket/**/*.parquet", [path for path in MANY if path.endswith(".parquet")]),
        ("r2://bucket/data/?", ["data/b/c.parquet", "data/b/d.txt"]),
        ("r2://bucket/[yz].txt", ["z.txt"]),
    ],
)
@pytest.mark.parametrize("page_size", [1, 2, 1000])
async def test_a_target_takes_an_object_a_folder_or_what_a_glob_matches(target, taken, page_size):
    assert await paths(ScriptedBucket(MANY, page_size=page_size), target) == taken


async def test_an_object_wins_over_the_folder_of_its_name_and_that_is_told():
    bucket = ScriptedBucket(["data", "data/a"])
    found, artifacts = await listed(bucket, "r2://bucket/data")
    assert [artifact.path for artifact in artifacts] == ["data"]
    assert "data/" in found.notes[0]
    assert await paths(bucket, "r2://bucket/data/") == ["data/a"]


async def test_markers_of_folders_are_passed_over_and_told():
    found, artifacts = await listed(ScriptedBucket({"a/": 0, "a/b": 1, "c/": 0}), "r2://bucket")
    assert [artifact.path for artifact in artifacts] == ["a/b"]
    assert found.notes == ["2 empty objects whose name ends in / stood for folders"]


@pytest.mark.parametrize("key", ["a/", "/a", "a//b", "../a", "a/./b", "a\\b", "c:d", "e\u0301", "x.partial", "nul"])
async def test_a_key_that_cannot_be_a_file_is_refused_unless_it_is_excluded(key):
    bucket = ScriptedBucket({key: 1, "z": 1})
    await refused(bucket, "r2://bucket", UnsafeNameError)
    assert await paths(bucket, "r2://bucket", exclude=(key.replace("[", "[[]"),)) == ["z"]


async def test_the_selection_chooses_and_ends_a_listing():
    bucket = ScriptedBucket(MANY)
    assert await paths(bucket, "r2://bucket", include=("*.txt",), exclude=("z*",)) == ["data/b/d.txt"]
    assert await paths(bucket, "r2://bucket", max_files=3) == MANY[:3]
    assert await paths(bucket, "r2://bucket", max_bytes=4) == MANY[:4]
    bucket.asked.clear()
    await paths(bucket, "r2://bucket", max_files=2)
    assert len(bucket.asked) == 1
    assert "--max-bytes" in (await refused(ScriptedBucket({"a": 5}), "r2://bucket", UsageError, max_bytes=4)).hint


@pytest.mark.parametrize("option", [{"langs": ("sv",)}, {"configs": ("c",)}, {"splits": ("train",)}, {"revision": "r"}])
async def test_what_a_bucket_has_not_cannot_be_chosen(option):
    bucket = ScriptedBucket(MANY)
    assert "bucket" in (await refused(bucket, "r2://bucket", UsageError, **option)).message
    assert bucket.asked == []


async def test_nothing_there_is_an_error_with_what_may_have_been_meant():
    assert (await refused(ScriptedBucket(MANY), "r2://bucket/dta", UsageError)).hint == "did you mean data or data2?"
    assert (await refused(ScriptedBucket(MANY), "r2://bucket/data/bb/", UsageError)).hint == "did you mean data/b?"
    assert "nothing" in (await refused(ScriptedBucket(), "r2://bucket", UsageError)).message
    assert "--include" in (await refused(ScriptedBucket(MANY), "r2://bucket", UsageError, include=("q",))).hint
    assert "nothing" in (await refused(ScriptedBucket(MANY), "r2://bucket/data/*.q", UsageError)).message


# --- a listing is whole or an error


def page(inner, token=None):
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return Answer(200, {}, xml(inner + more), ENDPOINT)


async def test_empty_and_short_pages_are_gone_past():
    bucket = ScriptedBucket()
    bucket.answers = {"": page("", "t/1"), "t/1": page(one("a"), "t 2"), "t 2": page("", "t+3"), "t+3": page(one("b"))}
    assert await paths(bucket, "r2://bucket") == ["a", "b"]


@pytest.mark.parametrize(
    "second",
    [
        page(one("b"), "t"),
        Answer(200, {}, xml("<IsTruncated>true</IsTruncated>" + one("b")), ENDPOINT),
        Answer(200, {}, xml(one("b"))[:-9], ENDPOINT),
        Answer(200, {}, xml("<Code>InternalError</Code>", root="Error"), ENDPOINT),
        Answer(200, {}, b"<html>log in</html>", ENDPOINT),
        Answer(404, {}, b"", ENDPOINT),
        Answer(403, {}, xml("<Code>ExpiredToken</Code>", root="Error"), ENDPOINT),
        Answer(204, {}, b"", ENDPOINT),
        RemoteError("could not be fetched after 6 tries"),
    ],
    ids=["repeated", "no token", "cut off", "error with 200", "html", "gone", "expired", "204", "unreachable"],
)
async def test_a_page_that_cannot_be_had_is_an_error_and_no_shorter_list(second):
    bucket = ScriptedBucket()
    bucket.answers = {"": page(one("a"), "t"), "t": second}
    await refused(bucket, "r2://bucket", (RemoteError, ConfigError, UsageError))


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (403, "AccessDenied", ConfigError, "R2_SECRET_ACCESS_KEY"),
        (401, "Unauthorized", ConfigError, "R2_SECRET_ACCESS_KEY"),
        (403, "SignatureDoesNotMatch", ConfigError, "R2_SECRET_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", ConfigError, "R2_ACCESS_KEY_ID"),
        (403, "RequestTimeTooSkewed", ConfigError, "clock"),
        (400, "ExpiredToken", ConfigError, "expired"),
        (404, "NoSuchBucket", UsageError, "no bucket r2://bucket"),
        (400, "InvalidArgument", RemoteError, "InvalidArgument"),
        (403, "", ConfigError, "403"),
    ],
)
async def test_each_refusal_says_what_helps(status, code, kind, says):
    bucket = ScriptedBucket()
    bucket.answers = {"": Answer(status, {}, xml(f"<Code>{code}</Code>", root="Error"), f"{ENDPOINT}/bucket")}
    error = await refused(bucket, "r2://bucket", kind)
    assert says in f"{error.message} {error.hint}"


async def test_a_bucket_on_aws_is_asked_where_aws_says_it_is():
    bucket = ScriptedBucket(MANY, home="eu-north-1")
    found, artifacts = await listed(bucket, "s3://bucket")
    assert found.origin == "https://s3.eu-north-1.amazonaws.com/bucket"
    assert len(artifacts) == len(MANY)
    assert found.name == "s3://bucket"


async def test_missing_keys_are_told_before_anything_is_asked():
    bucket = ScriptedBucket(MANY, keys=S3Keys())
    assert "R2_ENDPOINT_URL" in (await refused(bucket, "r2://bucket", ConfigError)).message
    assert bucket.asked == []


async def test_a_long_listing_holds_one_page():
    row = "".join(one(f"data/part-{n:05d}.parquet", 10) for n in range(1000))

    class Endless(ScriptedBucket):
        def _page(self, query):
            at = int(query.get("continuation-token", "0")) + 1
            return page(row, at if at < 20 else None).body

    found = await resolve("r2://bucket", Selection(), fetcher=Endless(), endpoint="https://hub.test")
    tracemalloc.start()
    n, base = 0, None
    try:
        async for _ in found.artifacts:
            n += 1
            if n == 2000:
                tracemalloc.reset_peak()
                base = tracemalloc.get_traced_memory()[0]
        assert n == 20_000
        assert tracemalloc.get_traced_memory()[1] - base < 4 << 20
    finally:
        tracemalloc.stop()
