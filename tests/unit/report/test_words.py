import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0376, "0.0376"), (14.13, "14.1"), (1234.5, "1,234"), (-0.5, "−0.500"), (2e-6, "2.00e−6"),
     (math.nan, "not finite"), (math.inf, "not finite")],
)  # fmt: skip
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert words.significant(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (14_203, "14.2 kB"), (999_999, "1,000 kB"), (5e9, "5.00 GB")],
)
def test_sizes_are_decimal(count: float, text: str) -> None:
    assert words.size(count).replace("\u00a0", " ") == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.00"), (-0.001, "0.00"), (0.3, "+0.30"), (-1.055, "−1.05")])
def test_points_have_a_sign_unless_they_are_zero(value: float, text: str) -> None:
    assert words.points(value) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("20.0\u00a0kB", "20\u00a0kB"),
        ("0.0150", "0.015"),
        ("100", "100"),
        ("1.00e−10", "1e−10"),
        ("2.50e−6", "2.5e−6"),
        ("100.0\u202f%", "100\u202f%"),
    ],
)
def test_ticks_lose_idle_zeros_and_nothing_else(text: str, shown: str) -> None:
    assert words.tick(text) == shown


@pytest.mark.parametrize("name", ["a to b", "a → b", " a  to b"])
def test_a_hop_is_named_by_its_ends_once(name: str) -> None:
    assert words.hop(name, "a", "b") == "a → b"
    assert words.hop("int8 to TFLite", "a", "b") == "int8 to TFLite: a → b"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(100, 60, "−40"), (100, 98, "−2.0"), (10, 10, "0.0"), (0, 3, "from zero"), (0, 0, "0")],
)
def test_relative_changes(before: float, after: float, text: str) -> None:
    assert words.change(before, after).removesuffix("\u202f%") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4.2 s"), (212, "3 min 32 s"), (59.96, "60 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds).replace("\u00a0", " ") == text


def test_moments_are_readable_and_other_text_stays() -> None:
    assert words.moment("2026-01-02T03:04:05+00:00") == "2 January 2026, 03:04 UTC"
    assert words.moment("last night\x1b") == "last night\ufffd"


def test_control_and_direction_characters_are_made_visible() -> None:
    assert words.one_line("a\x1b[31mb\u202ec\ud800\n d") == "a\ufffd[31mb\ufffdc\ufffd d"


@given(st.text())
def test_any_text_can_be_encoded_and_stands_on_one_line(text: str) -> None:
    line = words.one_line(text)
    assert len(line.encode().splitlines() or [b""]) == 1
    assert words.ascii_only(line).isascii()


@given(st.text(min_size=1), st.integers(3, 40))
def test_shortened_text_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    short = words.shorten(text, limit)
    assert len(short) <= limit
    assert short[0] == text[0]
    assert short[-1] == text[-1]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_breaks_the_formatter(value: float) -> None:
    assert words.significant(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.86, "1.86× smaller"), (0.5, "2.00× larger"), (1.001, "unchanged"), (None, "–"), (0.0, "–"), (math.inf, "–")],
)
def test_factors(value: float | None, text: str) -> None:
    assert words.factor(value, "smaller", "larger") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no difference: -0.50 points, -1.20 to +0.10", "no difference: −0.50 points, −1.20 to +0.10"),
        ("188.5x smaller, 20.3x faster", "188.5× smaller, 20.3× faster"),
        ("largest difference 2e-06 (want -.5)", "largest difference 2e−06 (want −.5)"),
        ("03-quantize.onnx of mnist-5k, 2026-11-23, 4-5", "03-quantize.onnx of mnist-5k, 2026-11-23, 4-5"),
        ("3x3 of conv2x and layer_1x with --set", "3x3 of conv2x and layer_1x with --set"),
        ("two\nlines", "two lines"),
    ],
)
def test_sentences_of_a_document_get_true_signs_and_names_keep_theirs(text, shown):
    assert words.prose(text) == shown


def test_every_negative_number_has_a_true_minus():
    shown = [words.percent(-0.2), words.signed(-0.4, ".1f"), words.points(-1), words.decibels(-3), words.change(2, 1),
             words.significant(-2e-9), words.quantity(-0.5, "points")]  # fmt: skip

    assert [s for s in shown if "-" in s or "−" not in s] == []
    assert words.signed(-0.01, ".1f") == "0.0"
