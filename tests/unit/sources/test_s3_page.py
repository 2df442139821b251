"""A page of a listing is read whole or not at all."""

import tracemalloc
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.sources.s3_page import Found, PageError, parse_page

MD5 = "0123456789abcdef" * 2
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1, max_size=40)


def document(inner, root="ListBucketResult", head=""):
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()


def contents(key, size=1, etag=f'"{MD5}"'):
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-20T17:00:00.000Z</LastModified>"
        f"<ETag>{escape(etag)}</ETag><Size>{size}</Size><Owner><ID>x</ID></Owner></Contents>"
    )


def test_everything_of_a_page_is_read_and_nothing_else():
    page = parse_page(
        document(
            "<Name>b</Name><Prefix>asked/</Prefix><Delimiter>/</Delimiter><KeyCount>2</KeyCount>"
            + contents("a", 5)
            + contents("c", 0, "&quot;x-2&quot;".replace("&quot;", '"'))
            + "<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>e/</Prefix></CommonPrefixes>"
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        )
    )
    assert page.objects == [Found("a", 5, f'"{MD5}"'), Found("c", 0, '"x-2"')]
    assert (page.folders, page.token) == (["d/", "e/"], "t")


@given(st.lists(KEYS, max_size=5), st.booleans())
def test_keys_come_back_as_they_were_put(keys, quoted):
    parts = [contents(quote_plus(key, safe="/") if quoted else key) for key in keys]
    parts.append("<EncodingType>url</EncodingType>" if quoted else "")  # after the keys, as S3 may have it
    assert [found.key for found in parse_page(document("".join(parts))).objects] == keys


def test_without_an_encoding_type_nothing_is_decoded():
    assert parse_page(document(contents("a%20b+c"))).objects[0].key == "a%20b+c"


@pytest.mark.parametrize(
    ("etag", "md5"),
    [(f'"{MD5}"', MD5), (f'"{MD5}-2"', None), (f'"{MD5[:-1]}"', None), (f'"{MD5.upper()}"', None), ("", None), (MD5, MD5), (f'W/"{MD5}"', None)],
)  # fmt: skip
def test_only_an_etag_that_looks_like_an_md5_is_taken_for_one(etag, md5):
    [found] = parse_page(document(contents("a", etag=etag))).objects
    assert found.md5 == md5
    assert found.etag == (f'"{etag}"' if etag == MD5 else etag)


def test_an_empty_page_is_a_page():
    assert parse_page(document("<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>")).objects == []
    assert parse_page(document("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>")).token


def test_a_token_on_the_last_page_is_not_followed():
    last = "<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    assert parse_page(document(last)).token is None


WHOLE = document(contents("a") + contents("b"))


@pytest.mark.parametrize("n", range(0, len(WHOLE) - 1, 37))
def test_a_page_that_was_cut_off_is_an_error(n):
    with pytest.raises(PageError):
        parse_page(WHOLE[:n])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"<html><body>log in</body></html>", document("", root="Error"), document("", root="ListBucketsResult"),
        document(contents("a", size="-1")), document(contents("a", size="")), document(contents("a", size="1e3")),
        document("<Contents><Size>1</Size></Contents>"), document(contents("")),
        document("<IsTruncated>true</IsTruncated>"),
        document("<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>"),
        document("<EncodingType>url</EncodingType>" + contents("%ff")), document(contents("a")) + document(""),
        document(contents("a")).replace(b"<Key>a", b"<Key>\xff"),
    ],
)  # fmt: skip
def test_what_is_no_page_is_an_error(body):
    with pytest.raises(PageError):
        parse_page(body)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
) + "]>"  # fmt: skip


@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
@pytest.mark.parametrize("head", [BOMB, '<!DOCTYPE x SYSTEM "file:///etc/passwd">', "<!DOCTYPE x>"])
def test_entities_are_refused_before_they_are_expanded(head, code):
    body = document("<Contents><Key>&i;</Key><Size>1</Size></Contents>", head=head).decode().replace("UTF-8", code)
    tracemalloc.start()
    try:
        with pytest.raises(PageError, match="DOCTYPE"):
            parse_page(body.encode(code))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
