"""What is said of titles that a model never met: beside recommendations, and in the place of a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.cli.render import carried_by
from genrec_edge.coordinates import CatalogRow
from genrec_edge.gguf.items_met import hash_of, to_text
from genrec_edge.records import Item, Recommendation
from genrec_edge.serving import judge as judging
from tests.support.commands import run_json, run_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Model = Callable[[Mapping[str, Any]], Path]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline_home")]

MET = ("Alien", "Aliens", "Jaws")
JAWS, ALIEN, FARGO, CHINATOWN, VERTIGO = "Jaws", "Alien", "Fargo", "Chinatown", "Vertigo"


@pytest.fixture
def options(residual_model: Model, tricky_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns options for a model that met three of the titles in training."""
    monkeypatch.setenv("COLUMNS", "200")
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior_kind="none") as r:
        items = [r.resolve(title).item for title in MET]
    hashes = [hash_of(item.title.lower(), item.year) for item in items if item is not None]
    judged = {"judge_slope": 1.0, "judge_offset": 0.0}
    record = {"objective": "catalog", "items_met": to_text(hashes), **judged}
    return ["--model", str(residual_model(record)), "--catalog", str(tricky_path), "--threads", "1"]


def asked(options: list[str], history: tuple[str, ...], candidates: tuple[str, ...], *more: str) -> list[str]:
    named = [part for title in history for part in ("-H", title)]
    named += [part for title in candidates for part in ("--candidate", title)]
    return ["recommend", *options, *named, "-k", str(len(candidates)), *more]


@pytest.mark.parametrize(
    ("history", "candidates", "said"),
    [
        ((ALIEN, JAWS), ("Aliens",), None),
        ((ALIEN, FARGO), ("Aliens", VERTIGO), None),  # half of both is enough
        ((ALIEN, FARGO, VERTIGO), ("Aliens",), "the model met 1 of the 3 titles and 1 of the 1 answers in training: "),
        ((ALIEN, JAWS), ("Aliens", VERTIGO, FARGO), "met 2 of the 2 titles and 1 of the 3 answers in training: "),
        ((FARGO,), (VERTIGO, CHINATOWN), "the model met 0 of the 1 titles and 0 of the 2 answers in training: "),
        ((), ("Aliens",), None),
    ],
)
def test_it_is_said_where_few_were_met(
    history: tuple[str, ...], candidates: tuple[str, ...], said: str | None, options: list[str]
) -> None:
    shown = run_text(*asked(options, history, candidates)).stderr
    assert ("in training" in shown) == (said is not None)
    if said is not None:
        (line,) = [line for line in shown.splitlines() if "in training" in line]
        assert f"{said}facts and counts decide; docs/training.md says how" in line
        assert "in training" not in run_text(*asked(options, history, candidates, "--quiet")).stderr
        alone = run_text(*asked(options, history, candidates, "--prior", "none")).stderr
        assert f"{said}leave out --prior none; docs/training.md says how" in alone
    document = run_json(*asked(options, history, candidates))
    assert document["history_met"] == len({*history} & {*MET})
    assert {item["title"]: item["met"] for item in document["items"]} == {t: t in MET for t in candidates}


def test_a_model_that_does_not_say_has_nothing_said_of_it(tiny_llama: Path, options: list[str]) -> None:
    untold = ["--model", str(tiny_llama), *options[2:]]
    assert "in training" not in run_text(*asked(untold, (FARGO,), (VERTIGO,))).stderr
    document = run_json(*asked(untold, (FARGO,), (VERTIGO,)))
    assert document["history_met"] is None
    assert "met" not in document["items"][0]


def test_the_table_says_what_carries_an_item_and_why_says_all_of_it(options: list[str]) -> None:
    mixed = asked(options, (JAWS, ALIEN), ("Aliens", VERTIGO, FARGO))
    document, shown = run_json(*mixed), run_text(*mixed, "--explain").stdout
    assert shown.strip().splitlines()[0].split()[-3:] == ["genres", "carried", "by"]
    for item in document["items"]:
        parts = sorted(item["parts"].items(), key=lambda part: -part[1])
        (row,) = [line for line in shown.splitlines() if f" {item['title']} " in line and f" {item['year']} " in line]
        assert row.rstrip().endswith(tuple(name for name, _ in parts[:2]))
        (why,) = [line for line in shown.splitlines() if line.startswith(f"{item['title']}: ")]
        assert ", ".join(f"{name} {nats:+.2f}" for name, nats in parts) in why
    alone = run_text(*mixed, "--prior", "none").stdout
    assert alone.strip().splitlines()[0].split()[-2:] == ["score", "probability"]
    assert "carried by" not in alone


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"model": 1.0, "facts": 6.0, "liked": 4.0}, "facts, liked"),
        ({"model": 1.0, "facts": 6.0, "liked": 3.0}, "facts, liked"),
        ({"model": 1.0, "facts": 6.0, "liked": 2.9}, "facts"),
        ({"model": 7.0, "facts": 6.0, "liked": 5.0}, "model, facts"),
        ({"model": 2.0, "known": -3.0}, "model"),
        ({"model": -9.0, "known": -3.0}, "known"),
    ],
)
def test_what_carries_an_item_most(parts: dict[str, float], expected: str) -> None:
    item = Item(CatalogRow(1), "1", "Alien")
    assert carried_by(Recommendation(1, item, 0.0, 0.0, parts=parts)) == expected


def test_no_verdict_is_given_on_what_the_model_never_met(
    options: list[str], tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model itself cannot judge: its margins are written down."""
    monkeypatch.setattr(judging, "margins", lambda _session, rows: [2.0] * len(rows))
    document = run_json("judge", ALIEN, FARGO, *options, "-H", JAWS)
    assert [(i["title"], i["met"], i["calibrated"]) for i in document["items"]] == [
        (ALIEN, True, True),
        (FARGO, False, False),
    ]
    assert document["calibrated"] is False
    assert [i["p_yes"] for i in document["items"]] == pytest.approx([0.8808] * 2, abs=1e-4)
    shown = run_text("judge", ALIEN, FARGO, *options, "-H", JAWS)
    cells = [line.split()[-1] for line in shown.stdout.splitlines() if line.strip()][-2:]
    assert cells == ["88%", "unknown"]
    assert "unknown: the model met no such title in training; `recommend --candidate` ranks it" in shown.stderr
    met = run_text("judge", ALIEN, *options, "-H", JAWS)
    assert ("unknown" in met.stdout + met.stderr, "was not calibrated" in met.stderr) == (False, False)
    untold = run_text("judge", ALIEN, FARGO, "--model", str(tiny_llama), *options[2:], "-H", JAWS)
    assert "unknown" not in untold.stdout + untold.stderr
    assert "this model was not calibrated" in untold.stderr
