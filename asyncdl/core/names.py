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

_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?")
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# The last one is a member of a JSON object, also of one within a string, or of a dict's repr.
_SECRET_IN_TEXT = re.compile(
    r"(?i)(?-i:hf_)(?:(?:oauth|jwt)_[\w.-]{8,}|[a-z0-9]{8,}(?:\.[\w-]+)*)"
    r"|bearer\s+\S+"
    r"|basic\s+(?-i:(?=\S[a-zA-Z+/]*[A-Z0-9=]))[a-z0-9+/]{8}\S*"  # RFC 7617; a word has no capitals within
    r"|(?P<user>//)[^\s/:@\"'<>]*:[^\s/\"'<>]*@"  # RFC 3986, section 3.2.1
    r"|(?P<name>(?<![\w-])(?:x-amz-[a-z-]+|x-goog-[a-z-]+|signature|sig|policy|"
    r"key-pair-id|token|access_token|awsaccesskeyid|expires|se|secret|password)=)[^&\s\"'<>]+"
    r"|(?P<header>(?<![\w-])x-(?:amz|goog)-(?:security-token|signature|credential):\s*)[^\s\"',;<>]+"
    r"|(?P<member>(?P<mark>[\"'])(?:x-(?:amz|goog)-(?:security-token|signature|credential)|authorization|api[_-]?key|"
    r"(?:\w+[_-])?(?:token|secret|password|secret_access_key))\\*(?P=mark)\s*:\s*\\*[\"'])(?:\\+[^\"'\\]|[^\"'\\])+"
)


def safe_path(text: str) -> SafePath:
    """Return `text` as a SafePath, or raise UnsafeNameError that says which rule it breaks.

    What leads elsewhere on Windows (devices, drives, a dot or blank at the end) is refused on every system, so that
    a tree can be moved. Names that end in .partial or .corrupted are refused because they would collide with our own.
    """
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)  # NFC and NFD twins are one file on APFS
    if not text.isprintable() and any(is_control(char) for char in text):  # the first is quick and nearly always so
        raise _unsafe(text, "it has control, direction or invisible characters")
    if len(text.encode()) > MAX_PATH_BYTES:
        raise _unsafe(text, f"it is longer than {MAX_PATH_BYTES} bytes")
    if "\\" in text or ":" in text:
        raise _unsafe(text, "it has a backslash or a colon, which other systems read as a folder or a drive")
    for step in text.split("/"):
        if (why := _fault_of(step)) is not None:
            raise _unsafe(text, why)
    return SafePath(text)


def _fault_of(step: str) -> str | None:
    """Return why `step`, free of control characters, slashes, backslashes and colons, may not be a name; or None."""
    if step in ("", ".", ".."):
        return "it is absolute or has an empty, '.' or '..' step"
    if step[-1] in ". " or step[0] == " ":
        return "a step begins with a space or ends in a dot or space"
    if _DEVICES.fullmatch(step):
        return f"{step} is a device name"
    if len(step.encode()) > MAX_NAME_BYTES:
        return f"a step is longer than {MAX_NAME_BYTES} bytes"
    if step.lower().endswith(RESERVED_SUFFIXES):
        return "the endings .partial and .corrupted are asyncdl's own"
    return None


def _unsafe(text: str, why: str) -> UnsafeNameError:
    return UnsafeNameError(
        f"the name {display(text[:200])} was refused: {why}",
        hint="leave it out with --exclude, or ask the publisher to rename it",
    )


def is_control(char: str) -> bool:
    """Whether `char` may steer a terminal, or reorder or hide text.

    Controls, surrogates, line and paragraph separators, and all of Unicode's format characters: bidi, zero width,
    tags. None of these is printable in the sense of `str.isprintable`.
    """
    return unicodedata.category(char) in _STEERING


def display(text: str) -> str:
    """Return `text` on one line with every steering character shown as an escape, secrets masked.

    Idempotent. Safe for terminals, logs and messages; not reversible.
    """
    masked = _SECRET_IN_TEXT.sub(_mask, text)
    if masked.isprintable():
        return masked
    escaped = "".join(_escape(char) if is_control(char) else char for char in masked)
    return _SECRET_IN_TEXT.sub(_mask, escaped)  # a control character may have stood within a secret


def _mask(match: re.Match[str]) -> str:
    kept = match["name"] or match["header"] or match["member"] or match["user"] or ""
    return f"{kept}***{'@' if match['user'] else ''}"


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def redact_url(url: str) -> str:
    """Return `url` without user, password, query and fragment: all that can hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "(a URL that cannot be read)"
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if port is not None:
        netloc = f"{netloc}:{port}"
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

    Injective but for a collision of digests: where `text` is not to be read off the step, `~` and a digest is added,
    and no step without a digest holds `~`. `safe_path` takes every step.
    """
    plain = re.sub(r"[^\w.+=@-]", "_", unicodedata.normalize("NFC", text).replace("/", "--")).strip(".") or "_"
    if _DEVICES.fullmatch(plain):
        plain = f"_{plain}"
    if plain.replace("--", "/") != text or len(plain.encode()) > 200 or _fault_of(plain) is not None:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
        plain = f"{plain.encode()[:180].decode(errors='ignore')}~{digest}"
    return plain


def split_name(dataset: str, subset: str) -> str:
    """Return the manifest entry and folder of one subset's shards: `org--name--data--swe_Latn--train`."""
    return folder_name(f"{dataset}/{subset}" if subset else dataset)


def group_stem(path: str) -> str:
    """Return what the shards of a group of files begin with: `shard_group~00001`. path: as `core.grouping` has it.

    In the stem of a file eight digits of a digest follow `~`, so it is no file's.
    """
    return f"shard_group~{path.rpartition('-')[2]}"


def shard_stem(path: str) -> str:
    """Return what the shards of the partition `path` begin with: `shard_` and its name without `.parquet`."""
    name = path.rpartition("/")[2]
    return "shard_" + folder_name(name.removesuffix(".parquet"))
