"""Which columns are title, id and year; and files whose first row is no header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage import column_roles
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["movieId", "title", "genres"], (1, 0, None)),
        (["tconst", "primaryTitle", "startYear"], (1, 0, 2)),
        (["name", "year"], (0, None, 1)),
        (["item_id", "movie_title", "release_year"], (1, 0, 2)),
        (["name", "title"], (1, None, None)),
    ],
)
def test_roles_are_guessed(names: list[str], roles: tuple[int | None, ...]) -> None:
    found = column_roles.choose_roles(names, title=None, id=None, year=None)
    assert (found.title, found.id, found.year) == roles


def test_roles_can_be_named() -> None:
    found = column_roles.choose_roles(["a", "B", "title"], title="b", id="A", year=None)
    assert (found.title, found.id, found.year) == (1, 0, None)
    with pytest.raises(UsageError, match="the columns are: a, B, title") as error:
        column_roles.choose_roles(["a", "B", "title"], title="tilte", id=None, year=None)
    assert "title" in error.value.hint
    with pytest.raises(UsageError, match="no column looks like a title; the columns are: a, b"):
        column_roles.choose_roles(["a", "b"], title=None, id=None, year=None)


@pytest.mark.parametrize(
    ("text", "has_header"),
    [
        ("1::Toy Story (1995)::Comedy\n2::Jumanji (1995)::Drama\n", False),
        ("1\t1\t4\t1600000010\n", False),
        ("7,Heat\n8,Alien\n", False),
        ("title,1995,1996\nHeat,1,2\n", True),
        ("a,b\n1,2\n", True),
    ],
)
def test_a_first_row_of_data_is_noticed(text: str, has_header: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_text(text)
    source = open_source(path)
    if has_header:
        column_roles.require_header(source)
    else:
        with pytest.raises(UsageError, match="begins with data") as caught:
            column_roles.require_header(source)
        assert "`columns`" in caught.value.hint
