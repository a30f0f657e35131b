"""What columns hold and mean: types, lists, roles, years."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage import infer_columns as cols
from genrec_edge.storage.cells import JSON_LIST
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from pathlib import Path


def profile_of(text: str, tmp_path: Path, **lists: str | None) -> dict[str, tuple[str, str | None]]:
    path = tmp_path / "profile.csv"
    path.write_text(text, encoding="utf-8")
    found = cols.profile(open_source(path), lists, lambda: None)
    return {column.name: (column.kind, column.separator) for column in found}


def table(**columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "0"], "INTEGER"),
        (["1", "", "\\N"], "INTEGER"),
        (["1", "2.5"], "REAL"),
        (["1e3", "2"], "REAL"),
        (["007", "8"], "TEXT"),
        (["1", "x"], "TEXT"),
        (["123456789012345678901", "1"], "TEXT"),
        (["nan", "1"], "TEXT"),
        (["+1", "1"], "TEXT"),
        (["٣", "1"], "TEXT"),
        (["", ""], "TEXT"),
    ],
)
def test_types_are_guessed_from_all_cells(cells: list[str], kind: str, tmp_path: Path) -> None:
    late = ["", *[""] * 1500, *cells]
    assert profile_of(table(a=late, b=["x"] * len(late)), tmp_path)["a"] == (kind, None)


@pytest.mark.parametrize(
    ("name", "cells", "separator"),
    [
        ("genres", ["a|b", "c"], "|"),
        ("Genre", ["a, b", "c"], ","),
        ("director", ["A", "B"], None),
        ("country", ["US; FR", "Korea, Republic of; FR"], ";"),
        ("title", ["a|b", "c"], None),
        ("anything", ['["a", "b"]', '["c"]'], JSON_LIST),
        ("anything", ["[a", "b]"], None),
    ],
)
def test_lists_are_recognised(name: str, cells: list[str], separator: str | None, tmp_path: Path) -> None:
    assert profile_of(table(**{name: cells, "x": ["1", "2"]}), tmp_path)[name] == ("TEXT", separator)


def test_lists_can_be_declared(tmp_path: Path) -> None:
    text = table(words=["a/b", "c"], more=["x;y", "z"])
    found = profile_of(text, tmp_path, words="/", MORE=None)
    assert found == {"words": ("TEXT", "/"), "more": ("TEXT", ";")}
    with pytest.raises(UsageError, match="no column 'mores'"):
        profile_of(text, tmp_path, mores=None)


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
    found = cols.choose_roles(names, title=None, id=None, year=None)
    assert (found.title, found.id, found.year) == roles


def test_roles_can_be_named() -> None:
    found = cols.choose_roles(["a", "B", "title"], title="b", id="A", year=None)
    assert (found.title, found.id, found.year) == (1, 0, None)
    with pytest.raises(UsageError, match="the columns are: a, B, title") as error:
        cols.choose_roles(["a", "B", "title"], title="tilte", id=None, year=None)
    assert "title" in error.value.hint
    with pytest.raises(UsageError, match="no column looks like a title; the columns are: a, b"):
        cols.choose_roles(["a", "b"], title=None, id=None, year=None)
