"""Tables as people have them, from the file to the answer of a filter: the faults that outside testers found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.catalog.edit import add, add_item
from genrec_edge.catalog.export import export
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build, inspect
from genrec_edge.errors import UsageError
from tests.support.catalogs import catalog_content

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def titles_where(path: Path, where: str) -> list[str]:
    with Catalog.open(path) as catalog:
        return [item.title for item in catalog.items(catalog.filter(where).tolist())]


def built(folder: Path, text: str, **options: Any) -> Path:
    (folder / "source").write_text(text, encoding="utf-8")
    build(folder / "source", folder / "c.db", force=True, **options)
    return folder / "c.db"


@pytest.mark.parametrize("word", ["NA", "N/A", "", "null", "None", "nan", "-", "\\N", "?", "n.a.", "#N/A"])
def test_a_short_film_is_not_long_because_another_has_no_runtime(word: str, tmp_path: Path) -> None:
    path = built(tmp_path, f"id,title,runtime\n1,Alien,117\n2,Lost Reel,{word}\n3,Short,9\n")
    assert titles_where(path, "runtime >= 100") == ["Alien"]
    assert titles_where(path, "runtime IS NULL") == ["Lost Reel"]


def test_marks_are_no_letters(tmp_path: Path) -> None:
    path = built(tmp_path, 'id,title,votes\n1,Alien,"1,234,567"\n2,Heat,"98,765"\n3,Fargo,5\n')
    assert titles_where(path, "votes > 90000") == ["Alien", "Heat"]


@pytest.mark.parametrize("cells", [("12345678901234567890", "5"), ("1,234", "5"), ("9 min", "117")])
def test_what_stays_text_is_not_compared_with_numbers(cells: tuple[str, str], tmp_path: Path) -> None:
    path = built(tmp_path, "id,title,n\n" + "".join(f'{i},T{i},"{cell}"\n' for i, cell in enumerate(cells)))
    with pytest.raises(UsageError, match="n holds text, and 100 is a number"):
        titles_where(path, "n >= 100")


def test_codes_stay_texts(tmp_path: Path) -> None:
    path = built(tmp_path, "id,title,code,sku2\n001,Desert,NA,00645155909931\n002,City,US,00000000000012\n")
    assert titles_where(path, "code = 'NA' AND sku2 = '00645155909931'") == ["Desert"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('4,Comma,"1,000"', "line 3: runtime: '1,000' is not a number"),
        ("4,Many,many", "line 3: runtime: 'many' is not a number"),
        ("4,Min,9 min", "line 3: runtime: '9 min' is not a number"),
    ],
)
def test_added_files_hold_numbers_where_the_catalog_does(line: str, message: str, tmp_path: Path) -> None:
    path = built(tmp_path, "id,title,runtime\n1,Alien,117\n2,Heat,170\n")
    before = catalog_content(path)
    (tmp_path / "more").write_text(f"id,title,runtime\n3,Lost Reel,NA\n{line}\n")
    with pytest.raises(UsageError, match=message):
        add(path, tmp_path / "more")
    assert catalog_content(path) == before
    (tmp_path / "more").write_text('id,title,runtime\n3,Lost Reel,NA\n4,Short,9\n5,Long,"1,000,000"\n')
    assert add(path, tmp_path / "more").n_items == 3
    assert titles_where(path, "runtime >= 100") == ["Alien", "Heat", "Long"]


def test_single_items_hold_numbers_where_the_catalog_does(tmp_path: Path) -> None:
    path = built(tmp_path, "id,title,stock,note\n1,Alien,117,x\n")
    with pytest.raises(UsageError, match="stock: 'many' is not a number"):
        add_item(path, "Heat", columns={"stock": "many"})
    add_item(path, "Heat", year=-720, columns={"stock": "n/a", "note": "5"})
    assert titles_where(path, "stock IS NULL AND note = '5' AND year = -720") == ["Heat"]


def test_lists_are_read_with_the_separator_of_the_catalog(tmp_path: Path) -> None:
    path = built(tmp_path, "id,title,themes\n1,Alien,space/fear\n", lists=["themes:/"])
    (tmp_path / "more").write_text("id,title,themes\n2,Heat,crime/night\n")
    add(path, tmp_path / "more")
    assert titles_where(path, "themes = 'night'") == ["Heat"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [('["a"]', "is a list"), ('{"a": 1}', "is an object"), ("true", "is true or false")],
)
def test_titles_are_texts(cell: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"line 2: title: the title {message}"):
        built(tmp_path, f'{{"title": "x"}}\n{{"title": {cell}}}\n')


def test_numbers_are_titles_and_ids(tmp_path: Path) -> None:
    path = built(tmp_path, '{"id": 1.0, "title": 1984}\n{"id": "2", "title": 300.0}\n')
    with Catalog.open(path) as catalog:
        assert [(item.id, item.title) for item in catalog.items([1, 2])] == [("1", "1984"), ("2", "300")]


def test_genres_printed_by_python(tmp_path: Path) -> None:
    cell = "\"[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': 'Comedy'}]\""
    path = built(tmp_path, f"id,title,genres,studio\n1,Toy Story,{cell},\"{{'name': 'Pixar'}}\"\n")
    assert titles_where(path, "genre = 'Animation' AND genre = 'comedy' AND studio = 'Pixar'") == ["Toy Story"]


def test_years_before_christ_and_before_1000(tmp_path: Path) -> None:
    rows = "1,Gilgamesh,-1750.0\n2,Odyssey,-720.0\n3,Beowulf,975.0\n4,Emma,1815.0\n"
    text = f"book_id,title,original_publication_year\n{rows}"
    path = built(tmp_path, text)
    with Catalog.open(path) as catalog:
        assert [(item.year, dict(item.columns)) for item in catalog.items([1, 2, 3, 4])] == [
            (-1750, {}),
            (-720, {}),
            (975, {}),
            (1815, {}),
        ]


def test_what_is_no_year_is_kept_and_counted(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,title,year\n1,A,19951122\n2,B,unclear\n3,C,720 BC\n4,D,NA\n")
    report = build(tmp_path / "s.csv", tmp_path / "c.db")
    assert report.columns == ("year_2",)
    assert report.decisions[-1] == "year: no year in 2 of its values, the first '19951122' in line 2"
    with Catalog.open(tmp_path / "c.db") as catalog:
        assert [item.year for item in catalog.items([1, 2, 3, 4])] == [None, None, -720, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,title\r\n1,Alien\r\n".encode("utf-16-le"), "looks like UTF-16"),
        ("id,title\r\n1,Alien\r\n".encode("utf-16-be"), "looks like UTF-16"),
        ("id,title\r\n1,Alien\r\n".encode("utf-32"), "looks like UTF-16"),
        (b"id,title\n1,Ali\0en\n", "line 2: a NUL character"),
        (b'{"id": "a\\u0000", "title": "x"}', "line 1: id: .* NUL"),
        (b'{"id": "a\\u001b", "title": "x"}', "line 1: id: .* control characters"),
        (b'{"id": true, "title": "x"}', "line 1: id: true is neither text nor a number"),
        (b'{"id": [1], "title": "x"}', "line 1: id: .* is neither text nor a number"),
    ],
)
def test_ids_are_texts_that_can_be_written(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        build(tmp_path / "s", tmp_path / "c.db")
    assert not (tmp_path / "c.db").exists()


def test_a_country_with_a_comma(tmp_path: Path) -> None:
    rows = ['1,Oldboy,"Korea, South",Park Chan-wook', "2,Alien,United Kingdom,Ridley Scott", "3,Heat,USA,Michael Mann"]
    text = "\n".join(["id,title,country,director", *rows, '4,Iron Monkey,China,"Yuen, Woo-ping"', ""])
    path = built(tmp_path, text)
    assert titles_where(path, "country = 'Korea, South'") == ["Oldboy"]
    assert titles_where(path, "director = 'Yuen, Woo-ping'") == ["Iron Monkey"]
    path = built(tmp_path, text, lists=["country"], no_lists=["director"])
    assert titles_where(path, "country = 'South'") == ["Oldboy"]


def test_no_genres_are_no_genre(tmp_path: Path) -> None:
    path = built(tmp_path, "movieId,title,genres\n1,A,Drama|War\n2,B,(no genres listed)\n")
    assert titles_where(path, "genres IS NULL") == ["B"]


def test_a_file_without_a_header_wants_names(tmp_path: Path) -> None:
    text = "1::Toy Story (1995)::Animation|Comedy\n2::Jumanji (1995)::Adventure\n"
    with pytest.raises(UsageError, match="begins with data, not with names of columns"):
        built(tmp_path, text)
    path = built(tmp_path, text, columns=["id", "title", "genres"])
    assert titles_where(path, "genre = 'Comedy' AND year = 1995") == ["Toy Story"]


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_a_catalog_is_not_written_over_its_source(make: str, tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("id,title\n1,Alien\n")
    getattr(tmp_path / "link", make)(source)
    for name in ("mine.csv", "link"):
        with pytest.raises(UsageError, match="over what is read"):
            build(source, tmp_path / name, force=True)
    assert source.read_text() == "id,title\n1,Alien\n"


def test_inspecting_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,title,year,runtime\n1,Alien,1979,117\n2,Heat,1995,NA\n")
    inspection = inspect(tmp_path / "s.csv")
    described = [(c.name, inspection.roles.of(c.position), c.type_name, c.n_missing) for c in inspection.columns]
    assert described == [
        ("id", "id", "whole number", 0),
        ("title", "title", "text", 0),
        ("year", "year", "whole number", 0),
        ("runtime", "", "whole number", 1),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


@pytest.mark.parametrize("end", ["csv", "jsonl"])
def test_ids_keep_what_nobody_sees_and_it_is_said(end: str, tmp_path: Path) -> None:
    ids = ["a\u200bb", "ab", "\ufeffz", "x\u00ady", "\u202eq\u202c"]
    (tmp_path / "s.csv").write_text("id,title\n" + "".join(f"{i},T{n}\n" for n, i in enumerate(ids)), encoding="utf-8")
    report = build(tmp_path / "s.csv", tmp_path / "c.db")
    assert report.decisions == (
        "id: 4 ids hold invisible characters, which are kept, the first 'a\\u200bb' in line 2",
        "id: only invisible characters tell 'ab' and 'a\\u200bb' apart",
    )
    export(tmp_path / "c.db", tmp_path / f"out.{end}")
    build(tmp_path / f"out.{end}", tmp_path / "again.db")
    for name in ("c.db", "again.db"):
        with Catalog.open(tmp_path / name) as catalog:
            assert [item.id for item in catalog.items([1, 2, 3, 4, 5])] == ids
    (tmp_path / "more.csv").write_text("id,title\nz,Z\n")
    assert add(tmp_path / "c.db", tmp_path / "more.csv").decisions == ()
    (tmp_path / "more.csv").write_text("id,title\nz\u200d,Z\n", encoding="utf-8")
    assert add(tmp_path / "c.db", tmp_path / "more.csv").decisions[1:] == (
        "id: only invisible characters tell 'ab' and 'a\\u200bb' apart, and 1 more",
    )


def test_values_of_json_lists_stay_as_they_are_written(tmp_path: Path) -> None:
    lists = ["[5, true]", '[1.0, 1e3, null, "x"]', "[12345678901234567890123, [1.50]]"]
    rows = "".join(f'{{"id": {n}, "title": "T{n}", "g": {cell}}}\n' for n, cell in enumerate(lists))
    path = built(tmp_path, rows)
    export(path, tmp_path / "out.jsonl")
    found = [json.loads(line)["g"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == [["5", "true"], ["1.0", "1e3", "x"], ["12345678901234567890123", "[1.50]"]]


def test_true_is_not_added_to_a_column_of_numbers(tmp_path: Path) -> None:
    path = built(tmp_path, '{"title": "A", "n": 5}\n')
    (tmp_path / "more").write_text('{"title": "B", "n": 7}\n{"title": "C", "n": true}\n')
    with pytest.raises(UsageError, match="line 2: n: true is not a number"):
        add(path, tmp_path / "more")


@pytest.mark.parametrize("cell", ["{'Drama', 'War'}", "{Drama,War}", "[Drama, War]", "deque(['Drama', 'War'])"])
def test_other_notations_of_lists_are_filtered_and_added(cell: str, tmp_path: Path) -> None:
    path = built(tmp_path, f'id,title,moods\n1,A,"{cell}"\n2,B,\n')
    (tmp_path / "more").write_text(f'id,title,moods\n3,C,"{cell}"\n')
    add(path, tmp_path / "more")
    add_item(path, "D", id="4", columns={"moods": cell.replace("Drama", "Noir")})
    assert titles_where(path, "moods = 'War'") == ["A", "C", "D"]
    assert titles_where(path, "moods = 'Noir'") == ["D"]
