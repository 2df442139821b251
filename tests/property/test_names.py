"""Whatever text comes from outside: paths stay below their folder, and what is shown steers nothing and tells no secret."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from asyncdl.core.names import MAX_NAME_BYTES, MAX_PATH_BYTES, display, folder_name, redact_url, safe_path
from asyncdl.errors import UnsafeNameError
from tests.support.hostile_names import ALL, HARMLESS

STEPS = st.sampled_from([*ALL, *HARMLESS])
PATHS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="abC.- /\\:~\0\x1b\u202e\u0301é", max_size=12),
    st.lists(STEPS, min_size=1, max_size=4).map("/".join),
    st.lists(st.sampled_from(["nul", "con", " ", ".", "..", "a", ".partial", ".corrupted", "é", "\x00", "a" * 251]), max_size=4).map("".join),
)  # fmt: skip
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    device + digit for device in ("com", "lpt") for digit in "0123456789¹²³"
}


def slowly(text):
    """safe_path's rules, each spelled out, character by character; None where the name is refused."""
    text = unicodedata.normalize("NFC", text)
    try:
        if len(text.encode()) > MAX_PATH_BYTES:
            return None
    except UnicodeEncodeError:
        return None
    for step in text.split("/"):
        if step in ("", ".", "..") or step.startswith(" ") or step.endswith((" ", ".")):
            return None
        for char in step:
            if char in "\\:" or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
                return None
        if step.partition(".")[0].rstrip(" ").lower() in DEVICES or len(step.encode()) > MAX_NAME_BYTES:
            return None
        if step.lower().endswith((".partial", ".corrupted")):
            return None
    return text


@given(PATHS)
def test_safe_path_is_its_rules_spelled_out(text):
    try:
        found = safe_path(text)
    except UnsafeNameError:
        found = None
    assert found == slowly(text)


@given(PATHS)
def test_a_safe_path_stays_below_its_folder_on_every_system(text):
    try:
        path = safe_path(text)
    except UnsafeNameError:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        joined = kind("root") / path
        assert joined.parts[0] == "root"
        assert ".." not in joined.parts
        assert not kind(path).is_absolute()
        assert not kind(path).drive
    assert safe_path(path) == path


PIECES = st.sampled_from([
    "?", "&", ";", " ", "=", "\n", "\x1b", "\u202e", '"', "'", "<", "\\", "%", "-", "_", "a", "sig", "sig=", "Signature=", "token=",
    "x-amz-", "X-Amz-Date=", "hf_", "hf_abcdefgh", "bearer", "Bearer ", "bearer\t", "se=", "***", "\u200b", "é", "12345678", "\\x0a",
    "policy=", "expires", "//", ":", "@", "basic ", "Basic\n", "dXNlcjpw", "hf_oauth_", ".", '"token"', "'token': '", '\\"', ": ", "x-amz-signature:",
])  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS)
@example("?sig=\nfoo")
@example("bearer\nabc=def")
@example("?sig=\x1b")
@example("//a:basic QUJDREVGR0g@")
@example('//a:"token":"x y"@')
def test_what_is_shown_can_be_shown_again(text):
    assert display(display(text)) == display(text)


@given(TEXTS)
def test_what_is_shown_steers_nothing_and_is_one_line(text):
    shown = display(text)
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert len(shown.splitlines()) <= 1
    shown.encode()


KEYS = st.sampled_from(
    ["X-Amz-Signature", "signature", "Sig", "policy", "token", "password", "se", "X-Goog-Credential"]
)


@given(
    st.sampled_from(["", "?", "&", " ", "\n", "(", "=", "\u200b", "/"]),
    KEYS,
    st.text(alphabet="abc%2B+/=_-", min_size=0),
    TEXTS,
)
def test_no_part_of_a_secret_is_shown(before, key, filling, after):
    shown = display(f"{before}{key}=CANARY{filling}CANARY &{after}")
    assert "CANARY" not in shown


@given(
    st.text(alphabet="abcXYZ019-._~%", min_size=1),
    st.text(alphabet="abcXYZ019-._~%"),
    st.text(alphabet="/abc%20", max_size=9),
    TEXTS,
)
def test_no_user_password_or_query_is_left_in_a_url(user, password, path, query):
    shown = redact_url(f"https://CANARY{user}:CANARY{password}@hub.test/{path}?CANARY{query}")
    assert "CANARY" not in shown


NAMES = st.one_of(
    PATHS, st.text(alphabet="ab-_~./ 1é", max_size=6), st.text(alphabet="ab-/~", max_size=5).map(folder_name)
)


@given(NAMES, NAMES)
def test_two_names_never_share_a_folder(one, other):
    assert (folder_name(one) == folder_name(other)) == (one == other)


@given(NAMES)
def test_a_folder_name_is_one_safe_step_with_room_for_more(text):
    name = folder_name(text)
    assert safe_path(name) == name
    assert "/" not in name
    assert len(name.encode()) <= 220
