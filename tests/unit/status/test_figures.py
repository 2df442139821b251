"""How numbers and names are written for people."""

from __future__ import annotations

import pytest

from asyncdl.status import figures


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (804, "804 B"),
        (1024, "1.0 KiB"),
        (1023.99 * 1024, "1.0 MiB"),
        (2**41, "2.0 TiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_bytes_are_in_binary_units_and_never_show_1024_of_a_smaller_one(n, text):
    assert figures.bytes_text(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (200, "3m20s"),
        (3599.9, "1h00m"),
        (7500, "2h05m"),
        (86399, "1d00h"),
        (4 * 86400 + 3 * 3600, "4d03h"),
    ],
)
def test_durations_show_two_units_and_carry_when_rounded(seconds, text):
    assert figures.duration_text(seconds) == text


def test_a_share_is_never_100_before_all_is_done():
    assert figures.share_text(999_999, 1_000_000) == "99%"
    assert figures.share_text(5, 5) == "100%"
    assert figures.share_text(0, 0) == "100%"


def test_one_is_singular():
    assert (figures.count_text(1, "file"), figures.count_text(0, "file"), figures.count_text(9870, "file")) == (
        "1 file",
        "0 files",
        "9,870 files",
    )


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("データ", 6),
        ("Ａ", 2),
        ("e\u0301", 1),
        ("\u0e01\u0e31", 1),
        ("a\u20dd", 1),
        ("größe", 5),
        ("🙂", 2),
        ("█▸✓", 3),
    ],
)
def test_wide_characters_take_two_columns_and_combining_ones_none(text, columns):
    assert figures.width_of(text) == columns


@pytest.mark.parametrize("text", ["short", "x" * 200, "データ/日本語" * 20, "e\u0301" * 80, ""])
@pytest.mark.parametrize("width", [8, 29, 80])
def test_fitted_text_has_exactly_the_width_in_columns(text, width):
    assert figures.width_of(figures.fit(text, width)) == width


def test_a_cut_name_keeps_both_ends():
    got = figures.fit("HuggingFaceFW/fineweb-2/data/swe_Latn/train", 20)
    assert got.startswith("Hugging")
    assert got.endswith("/train")
