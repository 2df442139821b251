"""Every row of what an answer can be: what was asked, what came, what it means."""

import pytest

from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Body, Pinned, Redirect, judge, validator_of
from asyncdl.errors import TransferError

NOW = 1_800_000_000.0
ASKED = ByteRange(100, 200)
KNOWN = Pinned(1000, '"v1"')
NOTHING = Pinned()
DATE, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"


def headers(**named):
    return {name.replace("_", "-"): value for name, value in named.items() if value is not None}


def part(content_range="bytes 100-199/1000", *, etag='"v1"', **named):
    return headers(content_range=content_range, etag=etag, **named)


def verdict(status, found, *, asked=ASKED, pinned=KNOWN, signed=False):
    return judge(status, found, asked=asked, pinned=pinned, signed=signed, now=NOW)


def error_of(status, found, **options):
    with pytest.raises(TransferError) as caught:
        verdict(status, found, **options)
    return caught.value.error_class


# 206: the part that was asked for


def test_a_part_as_asked_is_taken():
    assert verdict(206, part(content_length="100")) == Body(100, 200, KNOWN)


def test_a_part_without_length_is_as_long_as_it_says():
    assert verdict(206, part()) == Body(100, 200, KNOWN)


def test_a_part_that_ends_early_is_taken_as_far_as_it_goes():
    assert verdict(206, part("bytes 100-149/1000")) == Body(100, 150, KNOWN)


def test_the_first_part_pins_what_the_object_is():
    assert verdict(206, part(), pinned=NOTHING).pinned == KNOWN
    assert verdict(206, part(), pinned=Pinned(1000)).pinned == KNOWN


def test_a_total_that_is_not_told_leaves_the_size_as_it_was():
    assert verdict(206, part("bytes 100-199/*")) == Body(100, 200, KNOWN)
    assert verdict(206, part("bytes 100-199/*"), pinned=NOTHING).pinned == Pinned(None, '"v1"')


@pytest.mark.parametrize(
    "content_range",
    ["bytes 99-198/1000", "bytes 101-199/1000", "bytes 0-99/1000", "bytes 100-200/1000", "bytes 100-99/1000"],
)
def test_a_part_beside_what_was_asked_is_shifted(content_range):
    assert error_of(206, part(content_range)) == "range_shifted"


@pytest.mark.parametrize(
    "content_range",
    [
        None, "", "bytes */1000", "bytes 100-199", "items 100-199/1000", "bytes=100-199/1000", "bytes -100/1000",
        "bytes 100-199/1000, bytes 300-399/1000", "bytes 100-199/" + "9" * 5000, "bytes 100-199/150",
    ],
)  # fmt: skip
def test_a_part_without_a_usable_content_range_is_odd(content_range):
    assert error_of(206, part(content_range)) == "odd_reply"


def test_a_part_of_less_than_itself_is_odd_where_the_size_is_not_known_either():
    assert error_of(206, part("bytes 100-199/150"), pinned=NOTHING) == "odd_reply"


def test_many_parts_in_one_answer_are_odd():
    found = part(None, content_type="multipart/byteranges; boundary=x", content_length="400")
    assert error_of(206, found) == "odd_reply"


def test_a_part_nobody_asked_for_is_odd():
    assert error_of(206, part("bytes 0-999/1000"), asked=None) == "odd_reply"


def test_another_total_is_another_object():
    assert error_of(206, part("bytes 100-199/1001")) == "remote_changed"


def test_a_part_of_another_length_than_it_says():
    assert error_of(206, part(content_length="99")) == "wrong_length"


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP ", "identity, gzip"])
@pytest.mark.parametrize("status", [200, 206])
def test_an_encoded_body_is_refused(status, coding):
    assert error_of(status, part(content_encoding=coding, content_length=None)) == "encoded"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " "])
def test_identity_by_name_is_no_encoding(coding):
    assert verdict(206, part(content_encoding=coding)) == Body(100, 200, KNOWN)


# validators


def test_another_strong_etag_is_another_object():
    assert error_of(206, part(etag='"v2"')) == "remote_changed"
    assert error_of(200, headers(etag='"v2"', content_length="1000")) == "remote_changed"


def test_no_etag_says_nothing_against_the_pinned_one():
    assert verdict(206, part(etag=None)).pinned == KNOWN


def test_a_weak_etag_vouches_for_nothing():
    assert validator_of(headers(etag='W/"v2"')) is None
    assert verdict(206, part(etag='W/"v2"')).pinned == KNOWN


def test_last_modified_stands_in_for_a_missing_or_weak_etag():
    assert validator_of(headers(last_modified=DATE)) == DATE
    assert validator_of(headers(etag='W/"v1"', last_modified=DATE)) == DATE
    assert validator_of(headers(etag='"v1"', last_modified=DATE)) == '"v1"'
    assert error_of(206, part(etag=None, last_modified=LATER), pinned=Pinned(1000, DATE)) == "remote_changed"
    assert verdict(206, part(etag=None, last_modified=DATE), pinned=Pinned(1000, DATE)).pinned == Pinned(1000, DATE)


def test_an_etag_is_pinned_with_the_date_that_came_beside_it():
    assert verdict(206, part(last_modified=DATE), pinned=Pinned(1000)).pinned == Pinned(1000, '"v1"', DATE)


def test_a_pinned_date_that_comes_again_beside_an_etag_is_the_same_object():
    dated = Pinned(1000, DATE)
    assert verdict(206, part(etag='"any"', last_modified=DATE), pinned=dated).pinned == dated
    assert error_of(206, part(etag='"any"', last_modified=LATER), pinned=dated) == "remote_changed"


@pytest.mark.parametrize("known", [Pinned(1000, '"v1"', is_fickle=True), Pinned(1000, is_fickle=True)])
def test_fickle_validators_are_neither_compared_nor_pinned(known):
    assert verdict(206, part(etag='"v2"', last_modified=LATER), pinned=known).pinned == known
    assert verdict(200, headers(etag='"v3"', content_length="1000"), asked=None, pinned=known).pinned == known


def test_no_request_is_made_conditional_on_a_fickle_validator():
    assert KNOWN.condition == '"v1"'
    assert Pinned(1000, '"v1"', is_fickle=True).condition is None


def test_a_size_that_changes_is_another_object_however_fickle_its_validators():
    assert error_of(206, part("bytes 100-199/1001"), pinned=Pinned(1000, is_fickle=True)) == "remote_changed"


# 200: the whole


def test_the_whole_as_asked_is_taken():
    found = headers(etag='"v1"', content_length="1000")
    assert verdict(200, found, asked=None) == Body(0, 1000, KNOWN)
    assert verdict(200, found, asked=None, pinned=NOTHING) == Body(0, 1000, KNOWN)


def test_the_whole_for_a_range_says_that_the_range_was_ignored():
    assert verdict(200, headers(etag='"v1"', content_length="1000")) == Body(0, 1000, KNOWN, ignored_range=True)


def test_a_whole_without_length_ends_where_it_ends():
    assert verdict(200, headers(etag='"v1"'), asked=None) == Body(0, None, KNOWN)
    assert verdict(200, {}, asked=None, pinned=NOTHING) == Body(0, None, NOTHING)


@pytest.mark.parametrize("length", ["", "ten", "-1", "1.5", "9" * 5000])
def test_a_length_that_is_no_number_is_none(length):
    assert verdict(200, headers(content_length=length), asked=None, pinned=NOTHING) == Body(0, None, NOTHING)


def test_a_whole_of_another_length_than_announced():
    assert error_of(200, headers(content_length="999"), pinned=Pinned(1000)) == "wrong_length"


def test_a_whole_of_another_length_than_its_version_had_is_another_object():
    assert error_of(200, headers(content_length="999", etag='"v1"')) == "remote_changed"


@pytest.mark.parametrize("length", ["512", None])
@pytest.mark.parametrize("kind", ["text/html", "Text/HTML; charset=utf-8"])
def test_a_web_page_in_place_of_the_data(kind, length):
    assert error_of(200, headers(content_type=kind, content_length=length)) == "html_instead"


def test_a_web_page_in_place_of_the_data_is_told_before_its_encoding():
    found = headers(content_type="text/html", content_length="512", content_encoding="gzip")
    assert error_of(200, found) == "html_instead"


def test_a_web_page_of_the_announced_size_is_the_data():
    found = headers(content_type="text/html", content_length="1000", etag='"v1"')
    assert verdict(200, found, asked=None) == Body(0, 1000, KNOWN)


def test_a_web_page_of_unknown_size_is_the_data():
    found = headers(content_type="text/html", content_length="512")
    assert verdict(200, found, asked=None, pinned=NOTHING) == Body(0, 512, Pinned(512))


# redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(status):
    assert verdict(status, headers(location="/there")) == Redirect("/there")


@pytest.mark.parametrize("status", [300, 301, 302, 305, 307])
def test_a_redirect_to_nowhere_is_odd(status):
    assert error_of(status, {}) == "odd_reply"


# refusals


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (204, "odd_reply"), (226, "odd_reply"), (304, "remote_changed"), (400, "http_4xx"), (401, "unauthorized"),
        (402, "http_4xx"), (403, "forbidden"), (404, "not_found"), (405, "http_4xx"), (407, "http_4xx"),
        (408, "http_408"), (410, "gone"), (412, "remote_changed"), (418, "http_4xx"), (429, "rate_limited"),
        (451, "http_4xx"), (499, "http_4xx"), (500, "http_5xx"), (501, "http_5xx"), (502, "http_5xx"),
        (503, "http_503"), (504, "http_5xx"), (520, "http_5xx"), (599, "http_5xx"), (600, "odd_reply"),
    ],
)  # fmt: skip
def test_a_refusal_has_the_class_of_its_status(status, error_class):
    assert error_of(status, {}) == error_class


@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_a_signed_url_is_refused_for_is_its_signature(status):
    assert error_of(status, {}, signed=True) == "url_expired"


@pytest.mark.parametrize("status", [404, 408, 410, 412, 429, 500, 503])
def test_other_refusals_of_a_signed_url_are_what_they_are(status):
    assert error_of(status, {}, signed=True) == error_of(status, {})


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_dataset_says_so(status):
    assert error_of(status, headers(x_error_code="GatedRepo")) == "gated"


def test_a_token_that_is_not_valid_is_not_a_missing_repository():
    message = "Invalid credentials in Authorization header"
    assert error_of(401, headers(x_error_message=message)) == "bad_token"
    assert error_of(403, headers(x_error_message=message)) == "forbidden"


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [(401, "RepoNotFound", "unauthorized"), (404, "RepoNotFound", "not_found"), (404, "EntryNotFound", "not_found"), (404, "RevisionNotFound", "not_found")],
)  # fmt: skip
def test_the_hubs_codes_change_nothing_else(status, code, error_class):
    assert error_of(status, headers(x_error_code=code)) == error_class


@pytest.mark.parametrize(
    ("content_range", "pinned", "error_class"),
    [
        ("bytes */999", KNOWN, "remote_changed"),
        ("bytes */1000", KNOWN, "odd_reply"),
        ("bytes */1000", NOTHING, "odd_reply"),
        ("bytes */" + "9" * 5000, KNOWN, "odd_reply"),
        ("bytes 0-1/999", KNOWN, "odd_reply"),
        (None, KNOWN, "odd_reply"),
    ],
)
def test_an_unsatisfiable_range_is_a_new_object_where_its_size_is_new(content_range, pinned, error_class):
    assert error_of(416, headers(content_range=content_range), pinned=pinned) == error_class


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_refusal_carries_the_pause_that_is_asked_for(status):
    with pytest.raises(TransferError) as caught:
        verdict(status, headers(retry_after="7"))
    assert caught.value.retry_after_s == 7.0
