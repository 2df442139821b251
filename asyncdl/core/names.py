"""Names from outside become safe here, once, and in one way.

`SafePath` is the only kind of name that the rooms below accept for a file; `display` is the only way text
from outside reaches a terminal or a log; `redact_url` the only way a URL reaches either. The check stands at
this boundary because checks at call sites were forgotten in every project that tried (huggingface_hub #1429,
#4540, #4828, #4935).
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import unicodedata
from typing import NewType
from urllib.parse import quote, urlsplit, urlunsplit

from asyncdl.errors import UnsafeNameError

SafePath = NewType("SafePath", str)
"""A relative POSIX path that stays below the folder it is joined to. Made by `safe_path` alone."""

MAX_NAME_BYTES = 255
"""NAME_MAX of ext4, XFS, APFS and NTFS (the latter in UTF-16 units, so this is the stricter reading)."""

MAX_PATH_BYTES = 1024
"""The longest key R2 and S3 accept; leaves room for the data dir below PATH_MAX (4096)."""

RESERVED_SUFFIXES = (".partial", ".corrupted")

_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?")
_INVISIBLE = frozenset("\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\ufeff\u061c\u00ad")
_SECRET_IN_TEXT = re.compile(
    r"(?i)(hf_[a-z0-9]{8,}|(?:[?&;\s\"'](?:x-amz-[a-z-]+|x-goog-[a-z-]+|signature|sig|policy|key-pair-id|token|"
    r"access_token|awsaccesskeyid|expires|se|secret|password)=)[^&\s\"'<>]+|bearer\s+\S+)"
)


def safe_path(text: str) -> SafePath:
    """Return `text` as a SafePath, or raise UnsafeNameError that says which rule it breaks.

    Windows' rules hold on every system, so that a tree can be moved. Names that end in .partial or .corrupted
    are refused because they would collide with our own.
    """
    if unicodedata.normalize("NFC", text) != text:
        text = unicodedata.normalize("NFC", text)  # NFC and NFD twins are one file on APFS
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        raise _unsafe(text, "it is not valid Unicode") from None
    if len(encoded) > MAX_PATH_BYTES:
        raise _unsafe(text, f"it is longer than {MAX_PATH_BYTES} bytes")
    for segment in text.split("/"):
        _check_segment(text, segment)
    return SafePath(text)


def _check_segment(path: str, segment: str) -> None:
    if segment in ("", ".", ".."):
        raise _unsafe(path, "it is absolute or has an empty, '.' or '..' step")
    if "\\" in segment or ":" in segment:
        raise _unsafe(path, "it has a backslash or a colon, which other systems read as a folder or a drive")
    if any(is_control(char) for char in segment):
        raise _unsafe(path, "it has control, direction or invisible characters")
    if segment[-1] in ". " or segment[0] == " ":
        raise _unsafe(path, "a step begins with a space or ends in a dot or space")
    if _DEVICES.fullmatch(segment):
        raise _unsafe(path, f"{segment} is a device name")
    if len(segment.encode()) > MAX_NAME_BYTES:
        raise _unsafe(path, f"a step is longer than {MAX_NAME_BYTES} bytes")
    if segment.lower().endswith(RESERVED_SUFFIXES):
        raise _unsafe(path, "the endings .partial and .corrupted are asyncdl's own")


def _unsafe(text: str, why: str) -> UnsafeNameError:
    return UnsafeNameError(
        f"the name {display(text[:200])} was refused: {why}",
        hint="leave it out with --exclude, or ask the publisher to rename it",
    )


def is_control(char: str) -> bool:
    """Whether `char` may steer a terminal or reorder or hide text (C0, C1, bidi, zero width, surrogates)."""
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _INVISIBLE or _is_bidi(char)


def _is_bidi(char: str) -> bool:
    return "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def display(text: str) -> str:
    """Return `text` on one line with every steering character shown as an escape, secrets masked.

    Idempotent. Safe for terminals, logs and messages; not reversible.
    """
    masked = _SECRET_IN_TEXT.sub(_mask, text)
    return "".join(_escape(char) if is_control(char) else char for char in masked)


def _mask(match: re.Match[str]) -> str:
    name, equals, _ = match[0].partition("=")
    return f"{name}=***" if equals else "***"


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def redact_url(url: str) -> str:
    """Return `url` without user, password, query and fragment: all that can hold a secret."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc = f"{netloc}:{parts.port}"
    return display(urlunsplit((parts.scheme, netloc, parts.path, "", "")))


def quote_path(path: SafePath) -> str:
    """Return `path` for a URL, each step quoted, the slashes kept."""
    return quote(path, safe="/")


def folder_of(path: str) -> str:
    """Return the folder of `path` without a trailing slash; '' for a name at the root. This is the subset."""
    return path.rpartition("/")[0]


def matches_any(path: str, globs: tuple[str, ...]) -> bool:
    """Whether one of `globs` matches the whole path or its last step; `*` crosses slashes, case counts."""
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(name, glob) for glob in globs)


def folder_name(text: str) -> str:
    """Return one path step for `text` (a repo id, a subset): slashes become `--`, as the Hub's own cache has it.

    Injective: where `text` itself holds `--` or characters that a step may not have, a digest is added.
    """
    plain = re.sub(r"[^\w.+=@-]", "_", text.replace("/", "--")).strip(". ") or "_"
    if "--" in text or plain.replace("--", "/") != text or len(plain.encode()) > 200:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        plain = f"{plain.encode()[:180].decode(errors='ignore')}-{digest}"
    return plain


def split_name(dataset: str, subset: str) -> str:
    """Return the manifest entry and folder of one subset's shards: `org--name--data--swe_Latn--train`."""
    return folder_name(f"{dataset}/{subset}" if subset else dataset)


def shard_stem(path: str) -> str:
    """Return what the shards of the partition `path` begin with: `shard_` and its name without `.parquet`."""
    name = path.rpartition("/")[2]
    return "shard_" + folder_name(name.removesuffix(".parquet"))
