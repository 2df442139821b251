"""One page of ListObjectsV2, from its XML: a stream of events, no tree, nothing expanded.

Shapes are those of the S3 API Reference. What is no whole page is an error, never a shorter page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

_QUOTED_MD5 = re.compile(r'"[0-9a-f]{32}"')

_LEAVES = frozenset({"Key", "Size", "ETag"})
_HEAD = frozenset({"IsTruncated", "NextContinuationToken", "EncodingType"})


class PageError(ValueError):
    """It is no page of a listing; the text says why."""


class Found(NamedTuple):
    """key: unchecked text from outside. etag: quoted, as answers have it; '' where there is none."""

    key: str
    size_bytes: int
    etag: str

    @property
    def md5(self) -> str | None:
        """What the content hashes to, if the ETag has that form; that of a multipart upload has not."""
        return self.etag[1:-1] if _QUOTED_MD5.fullmatch(self.etag) else None


@dataclass(frozen=True, slots=True)
class Page:
    """folders: what was rolled up at the delimiter, each with it. token: of the next page, None on the last."""

    objects: list[Found]
    folders: list[str]
    token: str | None


def parse_page(body: bytes) -> Page:
    """Return the page that `body` is. Raises PageError, also for one that is not the last and names no next one."""
    reader, parser = _Reader(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.StartDoctypeDeclHandler = _refuse_doctype  # without one there are no entities to expand
    try:
        parser.Parse(body, True)
        return reader.page()
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise PageError(f"it is no whole XML document, or a key is not UTF-8: {error}") from None


class _Reader:
    """Takes expat's events. Only leaves are read; what is not known is passed over.

    It does not hold the parser, which holds it: a page in a circle would stay until the next garbage collection.
    """

    def __init__(self) -> None:
        self._root = ""
        self._text = ""
        self._is_rolled_up = False
        self._object: dict[str, str] = {}
        self._objects: list[tuple[str, str, str]] = []
        self._folders: list[str] = []
        self._head: dict[str, str] = {}

    def start(self, name: str, _attributes: object) -> None:
        self._text = ""
        self._root = self._root or name
        if name == "CommonPrefixes":
            self._is_rolled_up = True

    def data(self, text: str) -> None:
        self._text += text

    def end(self, name: str) -> None:
        if name in _LEAVES:
            self._object[name] = self._text
        elif name == "Contents":
            one, self._object = self._object, {}
            self._objects.append((one.get("Key", ""), one.get("Size", ""), one.get("ETag", "")))
        elif name in _HEAD:
            self._head[name] = self._text
        elif name == "CommonPrefixes":
            self._is_rolled_up = False
        elif name == "Prefix" and self._is_rolled_up:  # the other one repeats the question
            self._folders.append(self._text)

    def page(self) -> Page:
        if self._root != "ListBucketResult":
            raise PageError(f"it is a document of another kind: {self._root[:80]}")
        token = self._head.get("NextContinuationToken") or None
        is_truncated = self._head.get("IsTruncated") == "true"
        if is_truncated and token is None:
            raise PageError("it is not the last page and names no next one")
        quoted = self._head.get("EncodingType") == "url"
        return Page(
            [_found(*one, quoted=quoted) for one in self._objects],
            [_unquoted(folder) if quoted else folder for folder in self._folders],
            token if is_truncated else None,
        )


def _found(key: str, size: str, etag: str, *, quoted: bool) -> Found:
    if not key or not (size.isascii() and size.isdecimal()):
        raise PageError("an object has no key or no size")
    if etag and not etag.endswith('"'):  # some hosts leave the quotes out in listings alone
        etag = f'"{etag}"'
    return Found(_unquoted(key) if quoted else key, int(size), etag)


def _unquoted(text: str) -> str:
    """A blank comes as +, as botocore reads it too. Raises UnicodeDecodeError: keys are UTF-8."""
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


def _refuse_doctype(*_: object) -> None:
    raise PageError("it declares a DOCTYPE, which no listing does")
