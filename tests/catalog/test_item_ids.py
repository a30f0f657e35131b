"""Forms of ids: the one written comes first, and none is made up."""

from __future__ import annotations

import pytest

from genrec_edge.catalog.item_ids import HiddenIds, id_forms, plain_id


@pytest.mark.parametrize(
    ("text", "plain"),
    [("7", "7"), ("7.0", "7"), ("-7.000", "-7"), ("1.10", "1.10"), ("007", "007"), ("v1.0", "v1.0"), ("7.", "7.")],
)
def test_whole_numbers_lose_their_decimals(text: str, plain: str) -> None:
    assert plain_id(text) == plain


@pytest.mark.parametrize(
    ("text", "item_id"),
    [
        ("tt0133093", "tt0133093"),
        (" TT0133093\n", "tt0133093"),
        ("imdb:tt0133093", "tt0133093"),
        ("IMDb ID = tt0133093", "tt0133093"),
        ("id:7", "7"),
        ("7.0", "7"),
        ("https://www.imdb.com/title/tt0133093/?ref_=fn_al_tt_1", "tt0133093"),
        ("www.imdb.com/title/tt0133093", "tt0133093"),
        ("The Matrix (1999) {imdb-tt0133093}", "tt0133093"),
        ("b000x", "B000X"),
        ("tt0133093\u200b", "tt0133093"),
        ("\ufeffb7", "b7"),
        ("a\u00adb", "ab"),
    ],
)
def test_an_id_is_found_in_what_people_write(text: str, item_id: str) -> None:
    assert [item_id] in id_forms(text)


@pytest.mark.parametrize("text", ["Rocky: 4", "Alien 3", "Toy Story 2", "tt1", "att0133093x", "hidden id: 7"])
def test_a_title_that_ends_like_an_id_is_none(text: str) -> None:
    assert {form for group in id_forms(text) for form in group} == {text, text.lower(), text.upper()}


def test_the_id_that_is_written_comes_before_the_one_that_is_seen() -> None:
    assert id_forms("a\u200bb")[:2] == [["a\u200bb"], ["ab"]]


def hidden_notes(ids: list[str]) -> list[str]:
    hidden = HiddenIds()
    for number, item_id in enumerate(ids, 1):
        hidden.see(item_id, f" in line {number}")
    return hidden.notes(lambda: ids)


@pytest.mark.parametrize(
    ("ids", "notes"),
    [
        (["a", "é", "x y", "\u0646\u200c\u0646"], []),
        (["a", "b\u200b"], ["1 id holds invisible characters, which are kept, the first 'b\\u200b' in line 2"]),
        (
            ["b\ufeff", "b\u00ad", "\u202ec", "c", "d"],
            [
                "3 ids hold invisible characters, which are kept, the first 'b\\ufeff' in line 1",
                "only invisible characters tell 'b\\ufeff' and 'b\\xad' apart, and 1 more",
            ],
        ),
    ],
)
def test_ids_with_characters_that_nobody_sees_are_said(ids: list[str], notes: list[str]) -> None:
    assert hidden_notes(ids) == notes
