"""JSON in every order: arrays, lines, objects after each other, and tables written column by column."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.errors import UsageError
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from pathlib import Path

A, B = {"title": "Alien", "n": 1}, {"title": "Heat", "n": 2}
PRETTY = json.dumps(A, indent=2)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (json.dumps(A) + "\n" + json.dumps(B), [1, 2]),
        (json.dumps(A) + json.dumps(B), [1, 1]),
        (f"{PRETTY}\n{json.dumps(B, indent=2)}\n", [1, 5]),
        (f"\n\n{PRETTY}{json.dumps(B)}", [3, 6]),
        (json.dumps([A, B]), [1, 2]),
        (json.dumps([A], indent=1) + "\n" + json.dumps([B]), [1, 2]),
        (json.dumps([A, B]) + "[]", [1, 2]),
    ],
)
def test_documents(text: str, numbers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    source = open_source(path)
    rows = list(source.rows())
    assert source.columns == ["title", "n"]
    assert rows == [(numbers[0], ["Alien", 1]), (numbers[1], ["Heat", 2])]


@pytest.mark.parametrize(
    "table",
    [
        {"id": {"0": 1, "1": 2}, "title": {"0": "Alien", "1": "Heat"}},
        {"title": {"0": "Alien"}},
        {"id": [1, 2], "title": ["Alien", "Heat"]},
        {"0": {"id": 1, "title": "Alien"}, "1": {"id": 2, "title": "Heat"}},
        {"columns": ["id", "title"], "index": [0], "data": [[1, "Alien"]]},
        {"schema": {"fields": []}, "data": [{"id": 1, "title": "Alien"}]},
        {"movies": [{"id": 1, "title": "Alien"}]},
        [[1, "Alien"], [2, "Heat"]],
    ],
)
def test_tables_that_are_not_written_row_by_row(table: object, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match=r"whole table|not a JSON object") as caught:
        list(open_source(path).rows())
    assert 'orient="records"' in caught.value.hint


@pytest.mark.parametrize(
    "outer", [{"title": "My export"}, {"id": 8, "name": "Best films", "description": ""}, {"page": 1, "total": 2}]
)
def test_an_object_around_the_rows_is_no_item(outer: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**outer, "items": [A, B]}))
    with pytest.raises(UsageError, match=r"line 1: one object holds the whole table, under 'items'"):
        list(open_source(path).rows())


@pytest.mark.parametrize("after", ["", "\n" + json.dumps(B)])
def test_an_item_may_have_lists_of_objects(after: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    item = {"title": "Alien", "genres": [{"id": 1, "name": "Horror"}], "cast": []}
    path.write_text(json.dumps(item) + after)
    assert next(open_source(path).rows()) == (1, list(item.values()))
    path.write_text(json.dumps([{**item, "similar": [A]}]))
    assert len(list(open_source(path).rows())) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}] {"a": 2}', "item 2: not valid JSON"),
        ('[{"a": 1}] x', "item 2: not valid JSON"),
        ('{"a": 1}\n{"a": tru}\n', "line 2: not valid JSON"),
        ('{"a": 1}\n{"a": "x\n"}\n', "line 2: not valid JSON"),
        ('{"a": 1}\n\n{\n"a": [1,\n', "line 3: not valid JSON"),
        ('{"a": 1}, {"a": 2}', "line 1: not valid JSON"),
        ('{"a": 1}\n{"a": 1, "b": 2, "a": 3}\n', "line 2: the key 'a' stands twice in one object"),
        ('[{"a": 1}, {"b": {"a": 1, "a": 1}}]', "item 2: the key 'a' stands twice in one object"),
        ('{"a": 1}\n{"b": 1}{\n"a": 1, "a": 3}', "line 2: the key 'a' stands twice in one object"),
        ('[{"a": 1}, ]', "item 2: not valid JSON"),
        ('[{"a": 1},, {}]', "item 2: not valid JSON"),
    ],
)
def test_broken_documents(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        list(open_source(path).rows())


def test_an_error_is_found_without_reading_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": oops}\n' + '{"a": "some text"}\n' * 200_000)
    source = open_source(path)
    with pytest.raises(UsageError, match="line 2"):
        list(source.rows())
    assert source.share_read < 0.1


def test_a_value_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.storage.json_table._MAX_VALUE_CHARACTERS", 1 << 18)
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": [' + "1," * 400_000)
    with pytest.raises(UsageError, match="line 1: a value has more than 262,144 characters"):
        list(open_source(path).rows())


@pytest.mark.parametrize("chunk", range(1, 30))
def test_a_repeated_key_is_found_wherever_the_buffer_ends(chunk: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": [{"key": 1, "key": 1}]}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrec_edge.storage.json_table._CHUNK_CHARACTERS", chunk)
        with pytest.raises(UsageError, match="line 2: the key 'key' stands twice in one object"):
            list(open_source(path).rows())


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    records=st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1), min_size=1, max_size=8),
    indent=st.none() | st.integers(0, 2),
    between=st.sampled_from(["", "\n", " \n\n"]),
    chunk=st.integers(1, 40),
)
def test_documents_come_back_wherever_the_buffer_ends(
    records: list[dict[str, Any]], indent: int | None, between: str, chunk: int, tmp_path: Path
) -> None:
    path = tmp_path / "any.json"
    path.write_text(between.join(json.dumps({**r, "x": 0}, indent=indent) for r in records), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrec_edge.storage.json_table._CHUNK_CHARACTERS", chunk)
        source = open_source(path)
        rows = [cells for _, cells in source.rows()]
    found = [{k: v for k, v in zip(source.columns, cells, strict=False) if v is not None} for cells in rows]
    assert found == [{k: v for k, v in {**record, "x": 0}.items() if v is not None} for record in records]
