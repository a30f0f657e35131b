"""`genrec-edge profile`: what is printed, what is kept, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.engine.prompt_cache import PromptCache
from genrec_edge.profiles.store import ProfileStore
from genrec_edge.profiles.tastes import profile_text
from genrec_edge.storage import paths
from genrec_edge.storage.partial_files import partial_file
from genrec_edge.storage.paths import profiles_path
from tests.support.coordinates import tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

pytestmark = pytest.mark.usefixtures("own_home")


def call(*arguments: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli.app, ["profile", *map(str, arguments)], input=stdin)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def run(*arguments: object, stdin: str | None = None) -> Result:
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def run_json(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json", stdin=stdin).stdout)
    return document


@pytest.fixture
def update(films_path: Path) -> Callable[..., list[object]]:
    """Returns a function that makes the arguments of an update with titles."""

    def arguments(user: str, *titles: str) -> list[object]:
        return ["update", user, "--catalog", films_path, *(word for title in titles for word in ("-H", title))]

    return arguments


def line_of(films_path: Path, ids: list[str]) -> str:
    with Catalog.open(films_path) as films:
        catalog_facts, items = CatalogFacts(films), films.by_ids(ids)
        return profile_text(catalog_facts.of([items[item_id].row for item_id in ids]), catalog_facts.share)


@pytest.mark.slow
def test_update_show_and_forget(update: Callable[..., list[object]], films_path: Path) -> None:
    told = run(*update("ann", "Alien", "Aliens", "Fargo", "no such film at all"))
    assert told.stdout == "\n"
    as_written, left_out, counts = told.stderr.splitlines()
    assert as_written == "as written: Alien (1979), Aliens (1986), Fargo (1996)"
    assert left_out.startswith("left out 'no such film at all': it is not in the catalog")
    assert counts == "new events: 3, blocks summarised: 0, items waiting: 3"
    told = run(*update("ann", "Alien", "Vertigo", "Ran", "Blade Runner"))
    ids = list(ProfileStore().context("ann").seen)
    with Catalog.open(films_path) as films:
        met = [(item.title, item.id) for item in films.by_ids(ids).values()]
    assert {title for title, _ in met} == {"Alien", "Aliens", "Fargo", "Vertigo", "Ran", "Blade Runner"}
    order = dict(met)
    line = line_of(films_path, [order[title] for title in ("Alien", "Aliens", "Fargo", "Vertigo", "Ran")])
    assert told.stdout == f"{line}\n"
    assert told.stderr.splitlines()[-1] == "new events: 3, blocks summarised: 1, items waiting: 1"
    shown = run("show", "ann").stdout
    for text in ("facts", "films", "6, 5 of them in the summary", line.split(";")[0]):
        assert text in shown
    assert run("forget", "ann").stdout == "forgotten: ann (6 events)\n"
    assert call("show", "ann").exit_code == 2
    assert b"Vertigo" not in profiles_path().read_bytes()


@pytest.mark.slow
def test_json(update: Callable[..., list[object]]) -> None:
    document = run_json(*update("ann", "Alien", "Aliens", "no such film at all"))
    profile = document["profile"]
    assert document == {
        "schema": "genrec-edge/profile-update@1",
        "profile": {**profile, "user": "ann", "catalog": "films", "n_events": 2, "n_summarised": 0, "n_waiting": 2},
        "n_new": 2,
        "n_blocks": 0,
        "n_unwritten": 0,
        "n_passed_over": 0,
        "unresolved": ["no such film at all"],
        "notes": [],
    }
    assert run_json("show", "ann") == {"schema": "genrec-edge/profile-show@1", "profile": profile}
    run(*update("bob", "Fargo"))
    assert run_json("forget", "--all") == {
        "schema": "genrec-edge/profile-forget@1",
        "users": ["ann", "bob"],
        "events": 3,
    }
    assert run("forget", "--all").stdout == "forgotten: nobody (0 events)\n"


def test_forgetting_clears_what_was_evaluated_whatever_else_goes_wrong(own_home: Path) -> None:
    folder = paths.prompts_path()
    PromptCache(folder, {}).keep(tokens(*range(50)), b"cells")
    partial_file(folder / "a.kv").touch()
    profiles_path().write_bytes(b"no database" * 100)
    for arguments in (["forget", "ann"], ["forget", "--all"]):
        assert call(*arguments).exit_code == 16
        assert list(folder.iterdir()) == []
        (folder / "a.kv").touch()
    profiles_path().unlink()
    (folder / "b.kv").mkdir()
    result = call("forget", "--all")
    assert result.exit_code == 2
    assert "cannot be deleted" in result.stderr


def test_a_history_from_a_file_is_put_in_order_and_rated(update: Callable[..., list[object]]) -> None:
    rows = [("Alien", 30, 5), ("Aliens", 10, 1), ("Fargo", 20, 4)]
    stdin = "".join(json.dumps({"title": t, "timestamp": at, "rating": r}) + "\n" for t, at, r in rows)
    more = ["--history-file", "-", "--min-rating", 3]
    document = run_json(*update("ann"), *more, stdin=stdin)
    assert (document["n_new"], document["profile"]["n_waiting"]) == (3, 2)
    recalled = ProfileStore().context("ann")
    assert [entry.title for entry in recalled.recent] == ["Fargo", "Alien"]
    assert len(recalled.seen) == 3
    assert run_json(*update("ann"), *more, stdin=stdin)["n_new"] == 0


def test_blocks_and_methods(update: Callable[..., list[object]]) -> None:
    titles = ["Alien", "Aliens", "Fargo", "Vertigo", "Ran"]
    document = run_json(*update("ann", *titles), "--method", "hierarchical", "--block", 2, "--blocks", 1)
    assert (document["n_blocks"], document["n_passed_over"], document["profile"]["n_waiting"]) == (1, 2, 1)


def test_a_model_that_cannot_write_is_told_and_named(update: Callable[..., list[object]], tiny_llama: Path) -> None:
    titles = ["Alien", "Aliens", "Fargo", "Vertigo", "Ran", "Blade Runner"]
    model = ["--summarizer", tiny_llama, "--threads", 1, "--block", 1]
    told = run(*update("ann", *titles), *model)  # random weights write noise, and end their line soon
    kind = ProfileStore().get("ann").kind
    assert "1 older events only count as seen; --blocks summarises more" in told.stderr
    assert "blocks summarised: 5" in told.stderr
    assert kind == "facts" or kind.startswith("tiny-llama@")
    assert ("could not write" in told.stderr) or kind != "facts"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["show", "eve"], 2, "there is no profile of 'eve' in "),
        (["forget", "eve"], 2, "there is no profile of 'eve' in "),
        (["forget"], 2, "name one user to forget, or --all, and not both"),
        (["forget", "eve", "--all"], 2, "name one user to forget, or --all, and not both"),
        (["update", "eve"], 2, "there is no profile of 'eve'"),
        (["update", "eve", "-H", "no such film at all"], 3, "none of the 1 titles is in the catalog 'films'"),
        (["update", "eve", "-H", "Alien", "--block", "0"], 2, "must be from 1 to 100, got 0"),
        (["update", "eve", "-H", "Alien", "--min-rating", "nan"], 2, "--min-rating must be a number, got nan"),
        (["update", "eve", "-H", "Alien", "--summarizer", "nobody"], 4, "the model 'nobody' is not in "),
        (["update", "e\nve", "-H", "Alien"], 2, "printable characters, got 'e\\nve'"),
        (["update", "eve", "--history-file", "/no/such/file"], 2, "cannot read /no/such/file"),
    ],
)
def test_what_goes_wrong_is_one_line(arguments: list[str], exit_code: int, message: str, films_path: Path) -> None:
    catalog = ["--catalog", str(films_path)] if arguments[0] == "update" else []
    result = call(*arguments, *catalog)
    assert result.exit_code == exit_code
    assert message in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert not profiles_path().exists()


def test_a_damaged_file_has_its_own_exit_code(update: Callable[..., list[object]]) -> None:
    profiles_path().parent.mkdir(parents=True)
    profiles_path().write_bytes(b"no database" * 100)
    for arguments in (["show", "ann"], ["forget", "ann"], update("ann", "Alien")):
        result = call(*arguments)
        assert result.exit_code == 16
        assert "is not a file of profiles" in result.stderr
