"""The commands of `catalog`: exit codes, streams and exact output."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from genrec_edge.cli.catalog import catalog_app
from genrec_edge.errors import GenRecError
from tests.support import commands
from tests.support.catalogs import MESSY_CSV

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer()
app.add_typer(catalog_app, name="catalog")


def run(*arguments: object, stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, env={"COLUMNS": "200"})
    if isinstance(result.exception, GenRecError):
        return result.exception.exit_code, result.stdout, result.exception.message
    return result.exit_code, result.stdout, result.stderr


def run_json(*arguments: object) -> dict[str, Any]:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert out.count("\n") == 1
    found: dict[str, Any] = json.loads(out)
    assert next(iter(found)) == "schema"
    return found


@pytest.mark.slow
def test_build(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(MESSY_CSV, encoding="utf-8")
    found = run_json("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "out.db", "--name", "mine")
    assert found == {
        "schema": "genrec-edge/catalog-build@1",
        "path": str(tmp_path / "out.db"),
        "items": 4,
        "untitled": 1,
        "title_column": "title",
        "id_column": "id",
        "year_column": None,
        "columns": ["genres"],
        "list_columns": ["genres"],
        "decisions": [],
    }
    code, _, message = run("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "out.db")
    assert (code, message) == (2, f"{tmp_path / 'out.db'} exists already")
    code, out, err = run("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "out.db", "--force")
    assert (code, out) == (0, "")
    assert "4 items" in err
    assert "1 row without a title" in err
    assert run("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "out.db", "--force", "--quiet") == (
        0,
        "",
        "",
    )


def test_a_dry_run_shows_the_columns_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text('id,title,votes,country\n1,Heat,"1,234,567",USA\n2,Oldboy,NA,"Korea, South"\n')
    found = run_json("catalog", "build", tmp_path / "s.csv", "--dry-run")
    assert (found["schema"], found["file"]) == ("genrec-edge/catalog-columns@1", str(tmp_path / "s.csv"))
    assert [column["role"] for column in found["columns"]] == ["id", "title", None, None]
    assert found["columns"][2] == {
        "name": "votes",
        "role": None,
        "type": "integer",
        "list": False,
        "missing": 1,
        "examples": ["1,234,567"],
        "decisions": ["numbers with '.' before decimals, ',' between thousands", "'NA' (1) taken as missing"],
    }
    code, out, err = run("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "c.db", "--dry-run")
    assert code == 0
    assert "whole number" in out
    assert "country: single values, though 1 of 2 have a comma" in err
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]
    code, _, message = run("catalog", "build", tmp_path / "s.csv")
    assert (code, message) == (2, "--output is missing")


def test_a_build_says_what_was_decided_and_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "s.dat").write_text("1::Heat::1,234::Korea, South::12345\n2::Alien::5::USA::678\n")
    options = ["--columns", "id,title,votes,country,zip", "--decimal", ".", "--list", "country", "--text", "zip"]
    found = run_json("catalog", "build", tmp_path / "s.dat", "-o", tmp_path / "c.db", *options)
    assert found["list_columns"] == ["country"]
    assert found["decisions"] == ["votes: numbers with '.' before decimals, ',' between thousands"]
    options[4] = "--no-list"
    _, _, err = run("catalog", "build", tmp_path / "s.dat", "-o", tmp_path / "c.db", "--force", *options)
    assert "votes: numbers with" in err
    found = run_json("catalog", "export", "--catalog", tmp_path / "c.db", "-o", tmp_path / "out.jsonl")
    assert found == {
        "schema": "genrec-edge/catalog-export@1",
        "path": str(tmp_path / "out.jsonl"),
        "items": 2,
        "columns": ["id", "title", "year", "votes", "country", "zip"],
        "build_options": ["--text zip"],
    }
    record = {"id": "1", "title": "Heat", "year": None, "votes": 1234, "country": "Korea, South", "zip": "12345"}
    assert json.loads((tmp_path / "out.jsonl").read_text().split("\n")[0]) == record
    code, out, err = run("catalog", "export", "--catalog", tmp_path / "c.db", "-o", tmp_path / "out.csv")
    assert (code, out) == (0, "")
    assert err.split("\n")[-2:] == ["build it again with: --text zip", ""]
    _, _, message = run("catalog", "export", "--catalog", tmp_path / "c.db", "-o", tmp_path / "c.db", "--force")
    assert message.endswith("must end in .csv or .jsonl")


@pytest.mark.slow
def test_a_table_may_come_through_a_pipe(tmp_path: Path) -> None:
    program = [commands.installed_command(), "catalog"]
    build = [*program, "build", "-", "-o", str(tmp_path / "c.db"), "--json"]
    done = subprocess.run(build, input="id,title\n1,Heat\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["items"] == 1
    add = [*program, "add", "/dev/stdin", "--catalog", str(tmp_path / "c.db"), "--json"]
    done = subprocess.run(add, input="id,title\n2,x\n1,y\n", capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["message"]) == (
        2,
        "/dev/stdin, line 3: 'y' has the id '1', as has the item 'Heat'",
    )


def test_years_before_christ_can_be_added(messy_catalog_path: Path) -> None:
    arguments = ["--title", "Odyssey", "--id", "o", "--year", "-720", "--catalog", messy_catalog_path]
    assert run_json("catalog", "add", *arguments)["items"] == 1
    (item,) = run_json("catalog", "search", "odyssey", "--catalog", messy_catalog_path)["items"]
    assert item["year"] == -720


def test_build_takes_columns_and_lists(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("a,b,c,d\nHeat,h,released 1995,x/y\n", encoding="utf-8")
    options = ["--title", "a", "--id", "b", "--year", "c", "--list", "d:/"]
    found = run_json("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "out.db", *options)
    assert (found["title_column"], found["id_column"], found["year_column"]) == ("a", "b", "c")
    assert (found["columns"], found["list_columns"]) == (["c", "d"], ["d"])


@pytest.mark.parametrize("arguments", [("add", "--title", "Mine"), ("remove", "tt0032181"), ("add", "more.csv")])
def test_the_shipped_films_are_changed_only_by_name(arguments: tuple[str, ...], own_home: Path) -> None:
    code, out, message = run("catalog", *arguments)
    assert (code, out) == (2, "")
    assert message == "no catalog was named, and the films that come with the package are left as they are"
    assert not own_home.exists()


@pytest.mark.slow
def test_reset_makes_the_shipped_films_anew(own_home: Path) -> None:
    about = run_json("catalog", "info")
    path = about["path"]
    assert (about["items"], about["years"]) == (28_469, [1902, 2025])
    assert "1902 to 2025" in run("catalog", "info")[1]
    assert {"keywords", "aliases"} <= set(about["list_columns"]) < set(about["columns"])
    assert "known" in set(about["columns"]) - set(about["list_columns"])
    assert run_json("catalog", "remove", "tt0032181", "--catalog", path)["removed"] == 1
    assert run_json("catalog", "reset") == {"schema": "genrec-edge/catalog-reset@1", "path": path}
    assert run_json("catalog", "remove", "tt0032181", "--catalog", path)["removed"] == 1
    code, out, err = run("catalog", "reset")
    assert (code, out, err.replace("\n", "")) == (0, "", f"{path}: the films as they are shipped")
    assert run("catalog", "reset", "--quiet") == (0, "", "")


def test_info(messy_catalog_path: Path) -> None:
    found = run_json("catalog", "info", "--catalog", messy_catalog_path)
    assert (found["schema"], found["items"]) == ("genrec-edge/catalog-info@1", 4)
    assert found["columns"] == ["id", "title", "year", "genres"]
    assert found["years"] == [1986, 1999]
    code, out, _ = run("catalog", "info", "--catalog", messy_catalog_path)
    assert code == 0
    assert found["revision"] in out


def test_a_catalog_without_years_has_none_to_show(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,title\n1,Alien\n", encoding="utf-8")
    assert run("catalog", "build", tmp_path / "s.csv", "-o", tmp_path / "c.db")[0] == 0
    assert run_json("catalog", "info", "--catalog", tmp_path / "c.db")["years"] is None
    assert "None" not in run("catalog", "info", "--catalog", tmp_path / "c.db")[1]


def test_search(messy_catalog_path: Path) -> None:
    found = run_json("catalog", "search", "mat", "--catalog", messy_catalog_path)
    assert found["items"] == [
        {"id": "007", "title": "Matrix, The", "year": 1999, "columns": {"genres": "Action, Sci-Fi"}}
    ]
    assert len(run_json("catalog", "search", "heat", "-k", "1", "--catalog", messy_catalog_path)["items"]) == 1
    assert run_json("catalog", "search", "nothing", "--catalog", messy_catalog_path)["items"] == []
    code, out, err = run("catalog", "search", "nothing", "--catalog", messy_catalog_path)
    assert (code, out) == (0, "")
    assert "no title" in err


def test_nothing_that_steers_a_terminal_is_printed(messy_catalog_path: Path) -> None:
    _, out, _ = run("catalog", "search", "blue", "--catalog", messy_catalog_path)
    assert "[31mRed & Blue" in out
    assert "\x1b" not in out


def test_add_and_remove(messy_catalog_path: Path, tmp_path: Path) -> None:
    arguments = ["--title", "Alien", "--id", "a", "--year", "1979", "--set", "genres=Horror, Sci-Fi"]
    assert run_json("catalog", "add", *arguments, "--catalog", messy_catalog_path)["items"] == 1
    (item,) = run_json("catalog", "search", "alien", "--catalog", messy_catalog_path)["items"]
    assert item == {"id": "a", "title": "Alien", "year": 1979, "columns": {"genres": "Horror, Sci-Fi"}}
    (tmp_path / "more.csv").write_text("nr,name\nb,Aliens\nc,Alien 3\n")
    options = ["--title", "name", "--id", "nr", "--catalog", messy_catalog_path]
    assert run_json("catalog", "add", tmp_path / "more.csv", *options)["items"] == 2
    assert run_json("catalog", "remove", "a", "b", "--catalog", messy_catalog_path)["removed"] == 2
    code, _, err = run("catalog", "remove", "c", "--catalog", messy_catalog_path)
    assert (code, err.strip()) == (0, f"removed 1 item from {messy_catalog_path}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add"], "nothing to add"),
        (["add", "--title", "x", "--set", "genres"], "not of the form COLUMN=VALUE"),
        (["add", "--title", "x", "--set", "genres=a", "--set", "Genres=b"], "--set gives 'Genres' twice"),
        (["add", "--title", "x", "--year", "soon"], "--year 'soon' is not a number"),
        (["add", "more.csv", "--set", "a=b"], "--set is for one item"),
        (["add", "--title", "x", "--id", "007"], "has the id '007'"),
        (["add", "no-such.csv"], "no such file"),
        (["remove", "nope"], "no item with the id 'nope'"),
        (["search", "x", "-k", "0"], ""),
        (["search"], ""),
    ],
)
def test_wrong_calls_exit_with_2(arguments: list[str], message: str, messy_catalog_path: Path) -> None:
    code, out, found = run("catalog", *arguments, "--catalog", messy_catalog_path)
    assert (code, out) == (2, "")
    assert message in found


def test_wrong_catalogs(messy_catalog_path: Path, tmp_path: Path) -> None:
    assert run("catalog", "info", "--catalog", tmp_path / "none.db")[0] == 2
    assert run("catalog", "info", "--catalog", tmp_path / "s.csv")[0] == 6
    messy_catalog_path.write_bytes(messy_catalog_path.read_bytes()[:3000])
    for arguments in (["info"], ["search", "x"], ["remove", "2"], ["add", "--title", "x"]):
        assert run("catalog", *arguments, "--catalog", messy_catalog_path)[0] == 6


@pytest.mark.usefixtures("offline_home")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["build", "{}/untitled.csv", "-o", "{}/new.db"], 2, "title"),
        (["build", "{}/none.csv", "-o", "{}/new.db"], 2, "none.csv"),
        (["build", "{}/untitled.csv", "--title", "c", "-o", "{}/new.db"], 2, "'c'"),
        (["info", "--catalog", "{}/foreign.db"], 6, "another program"),
        (["search", "x", "--catalog", "{}/half.db"], 6, "cut off"),
    ],
)
def test_bad_input_of_the_catalog_commands(
    broken_files: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    result = commands.run("catalog", *(argument.replace("{}", str(broken_files)) for argument in arguments))
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (broken_files / "new.db").exists()


def test_the_commands_load_nothing_heavy() -> None:
    code = "import sys, genrec_edge.cli.catalog, genrec_edge.cli.resolve; print(*{HEAVY} & set(sys.modules))"
    code = code.replace("{HEAVY}", "{'sqlite_utils', 'rapidfuzz', 'numpy', 'rich', 'sqlite3', 'llama_cpp'}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
