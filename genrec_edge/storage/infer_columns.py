"""What the columns of a table are: which one is the title, their SQL types, and which hold lists of values.

Knows rows of cells; nothing of files and catalogs.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from genrec_edge.errors import UsageError
from genrec_edge.storage.cells import JSON_LIST, NULLS, parse_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from genrec_edge.storage.tables import TableSource

Kind = Literal["INTEGER", "REAL", "TEXT"]

_TITLES = (
    "title",
    "movietitle",
    "primarytitle",
    "booktitle",
    "trackname",
    "productname",
    "producttitle",
    "name",
)
_IDS = (
    "id",
    "itemid",
    "movieid",
    "imdbid",
    "tconst",
    "bookid",
    "isbn",
    "asin",
    "parentasin",
    "trackid",
    "productid",
    "sku",
)
_YEARS = (
    "year",
    "releaseyear",
    "startyear",
    "yearofpublication",
    "publicationyear",
    "originalpublicationyear",
)
_LISTS = frozenset(
    [
        "genre",
        "genres",
        "tag",
        "tags",
        "cast",
        "actor",
        "actors",
        "director",
        "directors",
        "writer",
        "writers",
        "country",
        "countries",
        "language",
        "languages",
        "keyword",
        "keywords",
        "category",
        "categories",
    ]
)
_SEPARATORS = ("|", ";", ",")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})").fullmatch
_EXPONENT = r"[eE][+-]?[0-9]{1,3}"
_REAL = re.compile(rf"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:{_EXPONENT})?|{_EXPONENT})").fullmatch


@dataclass(frozen=True, slots=True)
class Roles:
    """Positions of the title, id and year columns; None if the source has no such column."""

    title: int
    id: int | None
    year: int | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name, position in the source, SQL type, and the separator of its values if it holds lists."""

    name: str
    position: int
    kind: Kind
    separator: str | None = None
    is_empty: bool = False


def choose_roles(
    names: Sequence[str],
    *,
    title: str | None,
    id: str | None,  # noqa: A002
    year: str | None,
) -> Roles:
    """Return the title, id and year columns: those the caller names, else those with a usual name.

    Raises:
        UsageError: a named column does not exist, or no column has a usual name of a title.
    """
    simple = ["".join(c for c in name.casefold() if c.isalnum()) for name in names]

    def guess(usual: tuple[str, ...]) -> int | None:
        return next((simple.index(name) for name in usual if name in simple), None)

    title_at = guess(_TITLES) if title is None else column_position(names, title)
    if title_at is None:
        message = f"no column looks like a title; the columns are: {', '.join(names)}"
        raise UsageError(message, hint="name it with `title`")
    return Roles(
        title=title_at,
        id=guess(_IDS) if id is None else column_position(names, id),
        year=guess(_YEARS) if year is None else column_position(names, year),
    )


def column_position(names: Sequence[str], name: str) -> int:
    """Return the position of a column; case does not count.

    Raises:
        UsageError: there is no such column; the message lists those that exist.
    """
    folded = [n.casefold() for n in names]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {names[folded.index(near[0])]!r}?" if near else ""
    message = f"no column {name!r}; the columns are: {', '.join(names)}"
    raise UsageError(message, hint=hint)


def profile(source: TableSource, lists: Mapping[str, str | None], on_progress: Callable[[], object]) -> list[Column]:
    """Read a source once and return what each column holds.

    Args:
        source: read from its first row; afterwards its `columns` are complete.
        lists: columns that hold lists of values, with their separator, or None to find it.
        on_progress: called about once in a thousand rows.

    Raises:
        UsageError: a row cannot be read, or a column in `lists` does not exist.
    """
    profiles: list[_ColumnProfile] = []
    active: list[tuple[int, _ColumnProfile]] = []
    for n_rows, (_, cells) in enumerate(source.rows()):
        n_cells = len(cells)
        is_wider = n_cells > len(profiles)
        if is_wider:
            profiles += [_ColumnProfile(name, lists) for name in source.columns[len(profiles) :]]
        if is_wider or not n_rows % 1000:
            active = [(i, p) for i, p in enumerate(profiles) if not p.settled]
            on_progress()
        for i, column in active:
            if i < n_cells:
                column.see(cells[i])
    profiles += [_ColumnProfile(name, lists) for name in source.columns[len(profiles) :]]
    declared = {source.columns[column_position(source.columns, name)]: sep for name, sep in lists.items()}
    spaced = dict.fromkeys(source.space_lists, " ")
    return [p.column(i, spaced | declared) for i, p in enumerate(profiles)]


class _ColumnProfile:
    """What has been seen of one column so far."""

    def __init__(self, name: str, lists: Iterable[str]) -> None:
        self.name = name
        self.kinds: dict[Kind, int] = {"INTEGER": 0, "REAL": 0, "TEXT": 0}
        self.n_arrays = 0
        self.separators: Counter[str] = Counter()
        usual = "".join(c for c in name.casefold() if c.isalnum()) in _LISTS
        self.may_be_list = usual or name.casefold() in map(str.casefold, lists)

    @property
    def settled(self) -> bool:
        """Whether further cells cannot change the result: it is plain text."""
        return bool(self.kinds["TEXT"]) and not self.may_be_list

    def see(self, cell: object) -> None:
        if isinstance(cell, str):
            cell = cell.strip()
            if cell in NULLS:
                return
            if cell[0] == "[" and parse_array(cell) is not None:
                self.n_arrays += 1
                return
            if not self.kinds["TEXT"]:
                self.kinds[_kind_of(cell)] += 1
            if self.may_be_list:
                for separator in _SEPARATORS:
                    self.separators[separator] += separator in cell
        elif isinstance(cell, list):
            self.n_arrays += 1
        elif isinstance(cell, int):
            self.kinds["INTEGER" if -(2**63) <= cell < 2**63 else "TEXT"] += 1
        elif cell is not None:
            self.kinds["REAL" if isinstance(cell, float) else "TEXT"] += 1

    def column(self, position: int, declared: Mapping[str, str | None]) -> Column:
        separator = declared.get(self.name)
        if separator is None and self.n_arrays:
            separator = JSON_LIST
        if separator is None and (any(self.separators.values()) or self.name in declared):
            separator = max(_SEPARATORS, key=self.separators.__getitem__)
        kind = self._kind() if separator is None else "TEXT"
        is_empty = not (self.n_arrays or any(self.kinds.values()))
        return Column(self.name, position, kind, separator, is_empty)

    def _kind(self) -> Kind:
        """Return the type that holds all cells."""
        if self.kinds["TEXT"]:
            return "TEXT"
        if self.kinds["REAL"]:
            return "REAL"
        return "INTEGER" if self.kinds["INTEGER"] else "TEXT"


def _kind_of(text: str) -> Kind:
    """Return the type of a cell that a text file holds."""
    if _INTEGER(text):
        return "INTEGER"
    return "REAL" if _REAL(text) else "TEXT"


def as_list(column: Column) -> Column:
    """Return the column as one of lists, separated by commas unless another separator is known."""
    return column if column.separator is not None else replace(column, separator=",")


def as_single(column: Column) -> Column:
    """Return the column as one of single values."""
    return replace(column, separator=None)
