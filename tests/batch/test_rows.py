"""The rows of a job: lines of JSON, and the same as Parquet."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from genrec_edge.batch.rows import answer_row, check_ending, error_row, is_error_row, write_rows
from genrec_edge.errors import UsageError
from genrec_edge.records import Interaction
from tests.support.batch_jobs import run

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge import Recommender

pytestmark = pytest.mark.usefixtures("job_home")


@pytest.mark.slow
def test_several_workers_and_parquet_give_the_same(
    whole_output: bytes, batch_command: list[str], job_users: Path, tmp_path: Path
) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    users = [json.loads(line) for line in job_users.read_text().splitlines()]
    names = dict.fromkeys(name for user in users for name in user)  # of columns, which have one type each
    for user in users:
        user["history"] = [entry if isinstance(entry, dict) else {"title": entry} for entry in user["history"]]
    parquet.write_table(
        pa.Table.from_pylist([{name: user.get(name) for name in names} for user in users]), tmp_path / "users.parquet"
    )
    there = [str(tmp_path / "users.parquet") if part == str(job_users) else part for part in batch_command]
    done = run(there, tmp_path / "out.jsonl", "--workers", "2", "--threads", "1", "--json")
    assert json.loads(done.stdout) == {
        "schema": "genrec-edge/batch@1",
        "out": str(tmp_path / "out.jsonl"),
        "users": 56,
        "failed": 3,
        "resumed": 0,
    }
    assert (tmp_path / "out.jsonl").read_bytes() == whole_output
    assert run(batch_command, tmp_path / "out.parquet", "--threads", "2").returncode == 3
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row in rows:
        assert row.pop("notes") is None
        for item in row["items"]:
            assert item.pop("met") is None  # a column is there for all
            item["parts"] = {name: nats for name, nats in item["parts"].items() if nats is not None}
            assert set(item["parts"]) == {"model", "facts", "liked"}
    assert rows == [json.loads(line) for line in whole_output.splitlines()]


def test_a_user_without_an_answer_has_a_row_with_the_error() -> None:
    line = error_row("u\ud800", "nothing", "none of the titles is in the catalog")
    assert is_error_row(line)
    row = json.loads(line)
    assert (row["user"], row["items"], row["exact"]) == ("u\ud800", [], None)
    assert row["error"] == {"code": "nothing", "message": "none of the titles is in the catalog"}
    assert not is_error_row(b'{"user": 1, "error": null}\n')


@pytest.mark.parametrize(("are_numbers", "users"), [(True, [7, 8]), (False, ["7", "8"])])
def test_parquet_has_users_as_numbers_where_all_of_them_are(are_numbers: bool, users: list[object]) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    lines, file = [error_row(user, "usage", "half \ud800") for user in (7, 8)], io.BytesIO()
    write_rows(lines, file, as_parquet=True, are_numbers=are_numbers)
    rows = parquet.read_table(io.BytesIO(file.getvalue())).to_pylist()
    assert [row["user"] for row in rows] == users
    assert rows[0]["error"]["message"] == "half ?"  # Parquet cannot hold half of a surrogate pair


def test_an_output_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name in ("out.jsonl", "out.parquet"):
        check_ending(tmp_path / name)
    with pytest.raises(UsageError, match=r"out\.csv does not have the name of an output file"):
        check_ending(tmp_path / "out.csv")


def test_notes_are_in_the_row_where_there_are_some(recommender: Recommender, tmp_path: Path) -> None:
    given = Interaction("Heat (1995)", year=1986)
    line = answer_row("a", recommender.recommend([given], k=1))
    parquet = pytest.importorskip("pyarrow.parquet")
    said = "Heat (1995): the year given beside it counts, 1986, not 1995"
    assert json.loads(line)["notes"] == [said]
    plain = answer_row("b", recommender.recommend(["Jaws"], k=1))
    assert "notes" not in json.loads(plain)
    assert not is_error_row(line)
    with (tmp_path / "rows.parquet").open("wb") as file:
        write_rows([line, plain], file, as_parquet=True, are_numbers=False)
    assert parquet.read_table(tmp_path / "rows.parquet")["notes"].to_pylist() == [[said], None]
