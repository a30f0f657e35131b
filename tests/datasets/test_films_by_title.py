"""Films by title and year."""

from __future__ import annotations

from genrec_edge.coordinates import CatalogRow
from genrec_edge.datasets.films_by_title import FilmsByTitle
from genrec_edge.records import Item

HERE, NEAR, FAR, UNDATED = (
    Item(CatalogRow(n), str(n), "Heat", year) for n, year in enumerate((1995, 1996, 1986, None))
)


def found(films: list[Item], year: int | None = 1995, title: str = "Heat") -> Item | None:
    return FilmsByTitle(films).find(title, year)


def test_a_film_is_the_one_of_its_year_or_the_only_one_near_it() -> None:
    assert found([FAR, NEAR, HERE]) is HERE
    assert found([FAR, NEAR]) is NEAR
    assert found([FAR]) is None
    assert found([NEAR, NEAR]) is None
    assert found([HERE, HERE]) is None
    assert found([]) is None


def test_what_has_no_year_is_found_without_one_alone() -> None:
    assert found([HERE, UNDATED], None) is UNDATED
    assert found([HERE], None) is None
    assert found([UNDATED]) is None


def test_titles_are_compared_by_their_keys() -> None:
    assert found([HERE, NEAR], title="  HEAT ") is HERE
    assert found([HERE], title="Heat 2") is None
