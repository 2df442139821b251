import unicodedata

import pytest

from asyncdl.core.names import (
    MAX_NAME_BYTES,
    SafePath,
    display,
    folder_name,
    folder_of,
    is_control,
    matches_any,
    quote_path,
    redact_url,
    safe_path,
    shard_stem,
    split_name,
)
from asyncdl.errors import UnsafeNameError
from tests.support import hostile_names
from tests.support.hostile_names import ALL, HARMLESS

# safe_path


def refusal_of(name):
    """The refusal's message, None where the name is taken."""
    try:
        safe_path(name)
    except UnsafeNameError as error:
        assert error.hint
        return error.message
    return None


def test_hostile_names_are_refused_and_the_refusals_can_be_shown():
    assert [name for name in ALL if refusal_of(name) is None] == []
    assert [name for name in ALL if any(is_control(char) for char in refusal_of(name))] == []
    assert max(len(refusal_of(name)) for name in ALL) < 3000


def test_odd_but_harmless_names_are_kept_as_they_are():
    assert [name for name in HARMLESS if safe_path(name) != name] == []


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (
            hostile_names.CONTROLS + hostile_names.STEERING + hostile_names.NOT_UNICODE,
            "control, direction or invisible",
        ),
        (hostile_names.FOREIGN, "backslash or a colon"),
        (["nul", "a/CON.txt"], "is a device name"),
        (["a" * 256], f"longer than {MAX_NAME_BYTES} bytes"),
        (["a" * 2000], "longer than 1024 bytes"),
        (["a.partial"], "asyncdl's own"),
        (["..", "a//b", "/a"], "empty, '.' or '..'"),
        ([" a", "a."], "begins with a space or ends in"),
    ],
)
def test_the_refusal_names_the_rule(names, why):
    assert [name for name in names if why not in refusal_of(name)] == []


def test_twins_of_one_name_are_one_path():
    assert safe_path("a\u0301/u\u0308") == "\u00e1/\u00fc"


def test_no_printable_character_steers():
    """What lets safe_path and display skip a look at each character."""
    every = map(chr, range(0x110000))
    assert not [char for char in every if char.isprintable() and is_control(char)]


def test_controls_and_hidden_characters_steer_letters_marks_and_blanks_do_not():
    steering = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x61C, 0x202E, 0xFEFF, 0xD800, 0xE0061)]
    assert [char for char in steering if not is_control(char)] == []
    assert [char for char in "a é日🙂\u0301\u3000\u00a0\ufffd\ue000" if is_control(char)] == []


# display


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 日本 🙂", "größe 日本 🙂"),
        ("a\nb\tc\x1b[2J", "a\\x0ab\\x09c\\x1b[2J"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\ud800", "\\ud800"),
        ("x\U000e0061", "x\\U000e0061"),
        ("\\x1b", "\\x1b"),
    ],
)
def test_what_would_steer_is_shown_as_an_escape(text, shown):
    assert display(text) == shown


SIGNED_KEYS = [
    "X-Amz-Signature", "x-amz-credential", "X-Amz-Security-Token", "X-Goog-Signature", "Signature", "sig", "Policy",
    "Key-Pair-Id", "token", "access_token", "AWSAccessKeyId", "Expires", "se", "secret", "password",
]  # fmt: skip


PLACES = [
    "https://cdn.test/x?{}",
    "https://cdn.test/x?a=b&{}&c=d",
    "{}",
    "at {} end",
    "({})",
    "'{}'",
    '"{}"',
    "a\n{}\nb",
    "x;{}",
    "\u200b{}",
]


@pytest.mark.parametrize("key", SIGNED_KEYS)
def test_a_secret_of_a_query_is_masked_wherever_it_stands(key):
    for place in PLACES:
        shown = display(place.format(f"{key}=CANARY%2Bcanary=="))
        assert "canary" not in shown.lower()
        assert f"{key}=***" in shown


@pytest.mark.parametrize(
    "text", ["hf_CanaryCanary", "token hf_canarycanary1234.", "(hf_canarycanary)", "xhf_canaryCANARY"]
)
def test_a_hub_token_is_masked(text):
    assert "canary" not in display(text).lower()


@pytest.mark.parametrize("text", ["Bearer canary", "Authorization: Bearer canary.canary-canary_==", "bearer   canary=canary==", "Bearer\tcanary", "Bearer\ncanary=", "BEARER canary&x=y"])  # fmt: skip
def test_a_bearer_token_is_masked_whole(text):
    assert "canary" not in display(text).lower()


@pytest.mark.parametrize(
    "text",
    [
        "hf_oauth_eyJCanary.canary-canary.canary_",
        "hf_jwt_canarycanary.canary",
        "hf_canarycanary.canary",
        "https://user:canary@hub.test/a",
        "at //user:can@canary@hub.test:80",
        "//:canary@hub.test",
        "Authorization: Basic Q2FuYXJ5Canary==",
        "basic\nQ2FuYXJ5canary",
        "{'token': 'canary canary'}",
        '{"access_token" : "canary\\\\ncanary"}',
        '{\\"hf_token\\": \\"canary\\"}',
        "{'Authorization': 'canary'}",
        "'aws_secret_access_key': 'canary'",
        "'X-Amz-Security-Token': 'canary/canary+=='",
        "X-Amz-Security-Token: canary/canary+==",
        "x-amz-signature:canary, x",
    ],
)
def test_a_secret_of_a_url_a_header_or_an_object_is_masked(text):
    shown = display(text)
    assert ("canary" in shown.lower(), "***" in shown) == (False, True)


@pytest.mark.parametrize("text", ["basic understanding", "Basic Understanding", "hf_hub_download", "http://hub.test:80/a@b", "https://hub.test/?mail=a:b@c", "'token' is missing", "//***@hub.test"])  # fmt: skip
def test_what_has_only_the_words_of_a_secret_is_shown(text):
    assert display(text) == text


@pytest.mark.parametrize("text", ["design=modern", "hf_abc", "unsigned=1", "x-sig=1", "resig=2", "Signature of X", "bearer", "https://hub.test/token/sig"])  # fmt: skip
def test_what_only_looks_like_a_secret_is_shown(text):
    assert display(text) == text


# redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hub.test/a/b", "https://hub.test/a/b"),
        ("https://hub.test:8443/a?Signature=s&b=c#f", "https://hub.test:8443/a"),
        ("https://user:pw@hub.test/a", "https://hub.test/a"),
        ("http://user@[::1]:80/a", "http://[::1]:80/a"),
        ("https://HUB.test/A%20b", "https://hub.test/A%20b"),
        ("https://hub.test/a\x1b[2J\u202e", "https://hub.test/a\\x1b[2J\\u202e"),
        ("https://hub.test/hf_canarycanary/a", "https://hub.test/***/a"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_can_be_secret(url, shown):
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://hub.test:99999/?sig=canary", "https://u:canary@hub.test:x/", "http://[canary]/"]
)
def test_a_url_that_cannot_be_read_is_not_shown_at_all(url):
    assert redact_url(url) == "(a URL that cannot be read)"


# names of folders and files


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HuggingFaceFW/fineweb-2", "HuggingFaceFW--fineweb-2"),
        ("data/swe_Latn/train", "data--swe_Latn--train"),
        ("wikimedia/wikipedia-20231101", "wikimedia--wikipedia-20231101"),
        ("name", "name"),
        ("日本/語", "日本--語"),
        ("hub.test", "hub.test"),
    ],
)
def test_a_plain_name_is_read_off_its_folder(text, name):
    assert folder_name(text) == name


TWINS = ["a/b", "a--b", "a b", "a_b", "a:b", "a.", "a", ".a", "A", "a\\b", "a/b/", "/a/b", "a//b", "a-b", "a---b", "", "_", ".", "..", "con", "_con", "con.x", "á", "a\u0301", "\ud55c", "\u1112\u1161\u11ab", "a.partial", "a.partial_", "a" * 300, "a" * 301, "\ud800", "\ud801"]  # fmt: skip


def test_no_two_names_share_a_folder():
    names = [folder_name(text) for text in TWINS]
    assert len(set(names)) == len(TWINS)


def test_a_name_that_looks_like_one_with_a_digest_has_one_of_its_own():
    forged = folder_name("a b")
    assert "~" in forged
    assert folder_name(forged) != forged


def test_every_folder_name_is_a_safe_step():
    names = [folder_name(text) for text in TWINS]
    assert [name for name in names if "/" in name or safe_path(name) != name] == []


def test_a_split_is_named_after_its_dataset_and_subset():
    assert split_name("org/name", "data/swe_Latn/train") == "org--name--data--swe_Latn--train"
    assert split_name("org/name", "") == "org--name"


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("data/swe_Latn/train/000_00000.parquet", "shard_000_00000"),
        ("train-00000-of-00001.parquet", "shard_train-00000-of-00001"),
        ("a/b.PARQUET", "shard_b.PARQUET"),
        ("a/nul.parquet", "shard__nul~" + folder_name("nul")[-8:]),
    ],
)
def test_shards_are_named_after_their_partition(path, stem):
    assert shard_stem(path) == stem
    assert safe_path(f"{stem}-0000.parquet")


def test_the_folder_of_a_path_is_its_subset():
    assert folder_of("data/swe_Latn/train/0.parquet") == "data/swe_Latn/train"
    assert folder_of("0.parquet") == ""


def test_a_path_is_quoted_step_by_step():
    assert quote_path(SafePath("a b/größe%2f?#&.txt")) == "a%20b/gr%C3%B6%C3%9Fe%252f%3F%23%26.txt"


@pytest.mark.parametrize(
    ("path", "glob", "matches"),
    [
        ("a/b/c.parquet", "*.parquet", True),
        ("a/b/c.parquet", "a/*", True),
        ("a/b/c.parquet", "c.*", True),
        ("a/b/c.parquet", "b/*", False),
        ("a/b/c.parquet", "*.PARQUET", False),
        ("a/b/c.parquet", "a/b/c.parquet", True),
        ("a/b/0.parquet", "[0-9].parquet", True),
        ("a/b/c.parquet", "?.parquet", True),
        ("a\nb", "a*", True),
    ],
)
def test_globs_match_the_path_or_its_last_step(path, glob, matches):
    assert matches_any(path, (glob,)) is matches
    assert matches_any(path, ("nothing", glob)) is matches


def test_no_glob_matches_nothing():
    assert not matches_any("a", ())


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(set(ALL)) > 150
    assert all(unicodedata.is_normalized("NFC", name) for name in HARMLESS)
