"""Titles: one display spelling, one comparison key."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.catalog import titles

JOINERS = "\u200c\u200d"
MI, KHAHAM = "\u0645\u06cc", "\u062e\u0648\u0627\u0647\u0645"
"""Two parts of a word of Persian, which a non-joiner keeps apart."""
TEXTS = st.text() | st.text(alphabet="\u200c\u200d\u06cc\u0d4d ab(1999)")
TEXTS |= st.text(alphabet="&amp;#38x;\u200b\u202e\u0301e \t\x00\x1b(,)")


@pytest.mark.slow
@given(TEXTS)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = titles.clean(text)
    assert titles.clean(once) == once


@given(TEXTS)
def test_a_clean_title_has_no_invisible_characters_and_fits(text: str) -> None:
    title = titles.clean(text)
    assert not [c for c in title if unicodedata.category(c)[0] == "C" and c not in JOINERS]
    assert title == title.strip()
    assert "  " not in title
    assert unicodedata.is_normalized("NFC", title)
    assert len(title.encode()) <= titles.MAX_TITLE_BYTES


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("  Heat\t(1995)\n", "Heat (1995)"),
        ("Romeo &amp; Juliet", "Romeo & Juliet"),
        ("Fish &amp;amp; Chips", "Fish & Chips"),
        ("&\u200bamp;", "&"),
        ("Rock &Regina", "Rock &Regina"),
        ("Ame\u0301lie", "Am\u00e9lie"),
        ("\u202eevil\u202c", "evil"),
        ("\x1b[31mred", "[31mred"),
        ("\ud800x", "x"),
        ("\u200b", ""),
        (f"{MI}\u200c{KHAHAM}", f"{MI}\u200c{KHAHAM}"),
        ("क्\u200dष", "क्\u200dष"),
        ("ക്\u200d ഒ", "ക്\u200d ഒ"),
        (f"{MI}\u200c {KHAHAM}\u200c", f"{MI} {KHAHAM}"),
        ("a\u200cb\u200d", "ab"),
        (f"\u200c{MI}", MI),
    ],
)
def test_clean(raw: str, title: str) -> None:
    assert titles.clean(raw) == title


def test_joiners_do_not_count_in_keys() -> None:
    assert titles.key(f"{MI}\u200c{KHAHAM}") == titles.key(MI + KHAHAM)
    assert titles.key("क्\u200dष") == titles.key("क्ष")


def test_a_long_title_is_cut_between_characters() -> None:
    title = titles.clean("é" * 1000)
    assert title == "é" * 256


def test_nested_entities_cost_no_more_than_a_long_text() -> None:
    assert titles.clean("&" + "#38;" * 100_000).startswith("&")


@pytest.mark.parametrize(
    ("title", "canonical"),
    [
        ("Matrix, The", "The Matrix"),
        ("Seventh Seal, The (Sjunde inseglet, Det)", "The Seventh Seal (Sjunde inseglet, Det)"),
        ("Avventura, L'", "L'Avventura"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Me, Myself & Irene", "Me, Myself & Irene"),
        ("The Matrix", "The Matrix"),
    ],
)
def test_canonical_puts_the_article_in_front(title: str, canonical: str) -> None:
    assert titles.canonical(title) == canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Matrix, The", "the  MATRIX!"),
        ("Amélie", "AMELIE"),
        ("Ocean's Eleven", "Oceans Eleven"),
        ("Lock, Stock & Two Smoking Barrels", "lock stock and two smoking barrels"),
        ("WALL·E", "wall-e"),
        ("שָׁלוֹם", "שלום"),
    ],
)
def test_equal_keys(one: str, other: str) -> None:
    assert titles.key(one) == titles.key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Alien", "Aliens"), ("$", "€"), ("किताब", "कुताब"), ("がき", "かき"), ("Part 1", "Part 2")],
)
def test_different_keys(one: str, other: str) -> None:
    assert titles.key(one) != titles.key(other)


@given(TEXTS)
def test_a_title_has_a_key_that_is_its_own_key(text: str) -> None:
    title = titles.clean(text)
    assert bool(titles.key(title)) == bool(title)
    assert titles.key(title) == titles.key(title.upper().lower()) or not title.isascii()


@pytest.mark.parametrize(
    ("title", "parts"),
    [
        ("Heat (1995)", ("Heat", 1995)),
        ("Heat", ("Heat", None)),
        ("2001: A Space Odyssey", ("2001: A Space Odyssey", None)),
        ("(1995)", ("(1995)", None)),
        ("Room (1408)", ("Room (1408)", None)),
    ],
)
def test_split_year(title: str, parts: tuple[str, int | None]) -> None:
    assert titles.split_year(title) == parts
