"""Which of several items of one name is taken, and what is said of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.namesakes import note, of_history, question
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.catalog.writer import build
from genrec_edge.coordinates import CatalogRow
from genrec_edge.records import Interaction, Item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILMS = [
    ("Heat", 1995, 75),
    ("Heat", 1986, 3),
    ("Heat", 1972, 1),
    ("The Avengers", 2012, 50),
    ("The Avengers", 1998, 37),
    ("Zodiac", 2007, 79),
    ("The Zodiac", 2005, 22),
    ("Ring", 1998, 33),
    ("The Ring", 2002, 57),
    ("Ocean's Eleven", 2001, 59),
    ("Ocean's 11", 1960, 32),
    ("Nine", 2009, 12),
    ("9", 2009, 40),
    ("Mother!", 2017, 47),
    ("Mother", 2009, 32),
    ("The Lord of the Rings", 1978, 41),
    ("The Lord of the Rings: The Fellowship of the Ring", 2001, 90),
    ("Mad Max", 1979, 61),
    ("Mad Max: Fury Road", 2015, 85),
    ("Hostel: Part II", 2007, 60),
    ("Borat: Cultural Learnings", 2006, 63),
    ("Spider-Man: Homecoming", 2017, 49),
    ("Stranded: I've Come from a Plane", 2007, 2),
    ("Low Key", 2001, 4),
    ("Low Key", 2011, 1),
    ("Alien", 1979, 88),
    ("Amadeus", 1984, 60),
    ("Blade Runner", 1982, 70),
]


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TitleResolver]:
    folder = tmp_path_factory.mktemp("namesakes")
    rows = ({"id": f"{title} {year}", "title": title, "year": year, "known": known} for title, year, known in FILMS)
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(folder / "c.jsonl", folder / "c.db")
    with Catalog.open(folder / "c.db") as catalog:
        yield TitleResolver(catalog)


@pytest.mark.parametrize(
    ("text", "item_id", "said"),
    [
        ("Heat", "Heat 1995", "took the one of 1995; there are also 1986 and 1972"),
        ("Heat (1972)", "Heat 1972", ""),
        ("Zodiac", "Zodiac 2007", ""),
        # Hardly anybody means the film of 2005; and both are known who write Ring.
        ("The Zodiac", "Zodiac 2007", "took Zodiac (2007); there is also The Zodiac (2005)"),
        ("ring", "Ring 1998", "took Ring (1998); there is also The Ring (2002)"),
        ("the ring", "The Ring 2002", ""),
        # Numbers are written as one likes, unless they are the whole title.
        ("Ocean's 11", "Ocean's Eleven 2001", "took Ocean's Eleven (2001); there is also Ocean's 11 (1960)"),
        ("Ocean's 11 (1960)", "Ocean's 11 1960", ""),
        ("nine", "Nine 2009", "took Nine (2009); there is also 9 (2009)"),
        ("Mother!", "Mother! 2017", "took Mother! (2017); there is also Mother (2009)"),
        ("mad max", "Mad Max 1979", "took Mad Max (1979); there is also Mad Max: Fury Road (2015)"),
        ("Lord of the Rings (1978)", "The Lord of the Rings 1978", ""),
        ("Lord of the Rings 2001", "The Lord of the Rings: The Fellowship of the Ring 2001", ""),
        ("borat", "Borat: Cultural Learnings 2006", ""),
    ],
)
def test_one_is_taken_and_that_is_said(text: str, item_id: str, said: str, resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert match.item is not None
    assert (match.item.id, match.note) == (item_id, said)
    assert bool(match.candidates) == bool(said)
    assert (match.confidence < 0.95) or not said


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("The Avengers", "The Avengers (2012) or (1998)?"),
        ("avengers", "The Avengers (2012) or (1998)?"),
        ("mother", "Mother! (2017) or Mother (2009)?"),
        (
            "Lord of the Rings",
            "The Lord of the Rings: The Fellowship of the Ring (2001) or The Lord of the Rings (1978)?",
        ),
        ("hostel", "Hostel: Part II (2007)?"),  # without its number
        ("homecoming", "Spider-Man: Homecoming (2017)?"),  # one word may be another title
        ("stranded", "Stranded: I've Come from a Plane (2007)?"),  # a part of what few know
        ("low key", "Low Key (2001) or (2011)?"),  # four times as many of nearly none
    ],
)
def test_or_they_are_named(text: str, asked: str, resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert (match.item, match.method) == (None, "ambiguous")
    assert question(match.candidates) == asked


def test_the_time_of_the_rest_of_a_history_tells_namesakes_apart(resolver: TitleResolver) -> None:
    eighties = [Interaction("Alien"), Interaction("Amadeus"), Interaction("blade runner")]
    *_, low_key = resolver.resolve_history([*eighties, Interaction("Low Key")])
    assert low_key.item is None  # neither is near
    modern = [Interaction("Mad Max: Fury Road"), Interaction("Mother!"), Interaction("9")]
    found = resolver.resolve_history([Interaction("The Avengers"), *modern])[0]
    assert found.item is not None
    assert (found.item.year, found.method, found.confidence) == (2012, "normalised", 0.85)
    assert found.note == "took the one of 2012; there is also 1998; the rest of the history is of its time"
    assert [item.year for item in found.candidates] == [1998]
    assert resolver.resolve_history([Interaction("The Avengers"), *modern[:2]])[0].item is not None
    assert resolver.resolve_history([Interaction("The Avengers"), *modern[:1]])[0].item is None  # one is too few
    # Fame goes before time.
    heat = resolver.resolve_history([*eighties, Interaction("Heat")])[-1]
    assert heat.item is not None
    assert heat.item.year == 1995


def films(*years: int | None, title: str = "Film") -> list[Item]:
    return [Item(CatalogRow(row), str(row), title, year) for row, year in enumerate(years)]


def test_items_that_fit_the_years_of_a_history() -> None:
    old, new = films(1960, 2010)
    assert of_history([old, new], [1958, 1961, 1965, 1990]) is old
    assert of_history([old, new], [1958, 1961, 1990, 2012]) is None  # a quarter is near the other
    assert of_history([old, new], [1958, 1990, 1990]) is None
    assert of_history([old, new], [1958, 1961]) is old
    assert of_history([old, new], [1958, 1975]) is None  # half is not most
    assert of_history([old, new], [1958]) is None
    assert of_history(films(1960, None), [1958, 1961, 1965])
    assert of_history([old, *films(2010, title="Another")], [1958, 1961, 1965]) is None
    assert of_history([], [1958, 1961, 1965]) is None


def test_questions_and_notes() -> None:
    assert question(films(1998)) == "Film (1998)?"
    assert question([*films(1998, 2012), *films(None, title="Other")]) == "Film (1998), (2012) or Other?"
    assert note(films(1998)[0], []) == ""
    many = films(*range(1990, 1997))
    assert note(many[0], many[1:]) == "took the one of 1990; there are also 1991, 1992, 1993, 1994 and 2 more"
    assert note(films(None)[0], films(1990)) == "took Film; there is also Film (1990)"


def test_a_catalog_without_fame_asks_as_before(tmp_path: Path) -> None:
    rows = ({"id": f"{title} {year}", "title": title, "year": year} for title, year, _ in FILMS)
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(tmp_path / "c.jsonl", tmp_path / "c.db")
    with Catalog.open(tmp_path / "c.db") as catalog:
        plain = TitleResolver(catalog)
        assert plain.resolve("Heat").method == "ambiguous"
        mother = plain.resolve("Mother")
        assert mother.item is not None
        assert (mother.item.year, mother.note) == (2009, "took Mother (2009); there is also Mother! (2017)")
        assert plain.resolve("the fellowship of the ring").method == "part"
        assert plain.resolve("fellowship").item is None
        assert plain.resolve("borat").method == "ambiguous"  # one word may be anything
