"""`genrec-edge prior`, and what priors and calibrations do to `recommend`: against the plain search and the counts."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import Recommender, cli
from genrec_edge.catalog import edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.coordinates import CatalogRows
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import leave_one_out, user_histories
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.model import DEFAULT, SEEN_LOGPROB, PriorCounts, log_prob
from genrec_edge.records import Interaction
from tests.support.folders import TRICKY_CSV

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from typer.testing import Result

pytestmark = pytest.mark.usefixtures("own_home")

N_USERS = 30
HISTORY = ["004", "005", "017"]


@pytest.fixture(scope="module")
def events() -> list[tuple[str, str, int]]:
    """User, item and time: some films follow others more often than by chance."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(N_USERS):
        at = rng.integers(0, 60)
        items = dict.fromkeys((at + rng.integers(0, 4, 12).cumsum()) % 60)
        rows += [(f"user {user}", f"{item + 1:03}", 1000 * user + i) for i, item in enumerate(items)]
    return rows


def written(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "timestamp"), *rows])
    return path


@pytest.fixture
def data(events: list[tuple[str, str, int]], tmp_path: Path) -> Path:
    return imported(events, tmp_path / "data")


def imported(events: list[tuple[str, str, int]], folder: Path) -> Path:
    source = written(folder.with_suffix(".csv"), events)
    named = ("--name", "made", "--license", "MIT", "--out", folder)
    run("data", "import", "--interactions", source, "--items", TRICKY_CSV, *named)
    return folder


@pytest.fixture
def prior_path(data: Path, tmp_path: Path) -> Path:
    run("prior", "build", "--data", data, "--split", "all", "--out", tmp_path / "prior.db")
    return tmp_path / "prior.db"


@pytest.fixture
def residual(tiny_llama: Path, tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Returns a function that writes the tiny model with the record of a training on a prior."""

    def write(record: Mapping[str, Any]) -> Path:
        checkpoint = read_gguf(tiny_llama)
        known = {"score_kind": "catalog", "objective": "residual", "prior": "sequence", **record}
        fields = {f"genrec_edge.train.{key}": value for key, value in known.items()}
        path = tmp_path / "residual.gguf"
        with path.open("wb") as file:
            write_gguf(checkpoint, file, model_metadata(checkpoint, [], "residual", "MIT") | fields)
        return path

    return write


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def run(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def run_json(*arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return document


def log_priors(path: Path, history: list[str], kind: Any = "sequence") -> dict[str, float]:
    """Return the prior of each item by its id, without a catalog in between."""
    prior = ItemPrior.open(path)
    seen = np.array([prior.item_ids.index(item_id) for item_id in history], np.int64)
    found = log_prob(prior.counts, seen, kind, prior.card.coefficients)
    return dict(zip(prior.item_ids, found.tolist(), strict=True))


def by_id(document: dict[str, Any], field: str = "logprob") -> dict[str, float]:
    return {item["id"]: item[field] for item in document["items"]}


@pytest.fixture
def ask(tiny_llama: Path, tricky_path: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Returns a function that recommends everything that is not seen, by the tiny model or another."""
    history_path = tmp_path / "history.jsonl"
    history_path.write_text("".join(json.dumps({"id": item_id}) + "\n" for item_id in HISTORY))
    usual = ["--catalog", tricky_path, "--threads", 1, "--budget", 10**6, "--history-file", history_path]

    def recommend(*options: object, model: Path = tiny_llama, k: int = 57) -> dict[str, Any]:
        return run_json("recommend", "--model", model, *usual, "-k", k, *options)

    return recommend


# ---- build and update


def test_the_training_part_is_counted_and_nothing_else(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "prior.db"
    document = run_json("prior", "build", "--data", data, "--out", out, "--ties", "item")
    split = leave_one_out(load(data), "item")
    expected = PriorCounts.of(split.train, split.n_items)
    counts = ItemPrior.open(out).counts
    assert counts.events.tolist() == expected.events.tolist()
    assert counts.transitions.values.tolist() == expected.transitions.values.tolist()
    assert document == {
        "schema": "genrec-edge/prior-build@1",
        "path": str(out),
        "data": "made",
        "split": split.card(),
        "ties": "item",
        "events": int(expected.events.sum()),
        "items": 60,
        "transitions": len(expected.transitions.values),
        "coefficients": {"weights": list(DEFAULT.weights), "log_floors": list(DEFAULT.log_floors)},
        "fit": None,
    }


def test_all_events_are_counted_and_more_are_added(
    data: Path, tmp_path: Path, events: list[tuple[str, str, int]]
) -> None:
    late = [event for event in events if event[2] % 1000 >= 8]
    early = imported([event for event in events if event not in late], tmp_path / "early")
    out = tmp_path / "prior.db"
    assert run("prior", "build", "--data", early, "--split", "all", "--out", out).stdout == f"{out}\n"
    done = run("prior", "update", "--prior", out, "--interactions", written(tmp_path / "late.csv", late))
    assert done.stdout == f"{out}\n"
    assert f"{len(late)} events of" in done.stderr
    expected = PriorCounts.of(user_histories(load(data), "file"), 60)
    counts = ItemPrior.open(out).counts
    assert counts.events.tolist() == expected.events.tolist()
    assert counts.transitions.values == pytest.approx(expected.transitions.values, abs=1e-9)
    more = written(tmp_path / "more.csv", [("someone", "001", 99_999)])
    document = run_json("prior", "update", "--prior", out, "--interactions", more)
    assert document == {
        "schema": "genrec-edge/prior-update@1",
        "path": str(out),
        "events": 1,
        "users": 1,
        "new_users": 1,
    }


def test_fitted_coefficients_are_kept_in_the_file(data: Path, tmp_path: Path) -> None:
    document = run_json("prior", "build", "--data", data, "--out", tmp_path / "prior.db", "--fit")
    coefficients = ItemPrior.open(tmp_path / "prior.db").card.coefficients
    assert document["coefficients"]["weights"] == list(coefficients.weights)
    assert coefficients != DEFAULT
    assert document["fit"]["nats"] < document["fit"]["default_nats"]


@pytest.mark.parametrize("split", ["time", "cold"])
def test_other_splits_can_be_counted(data: Path, tmp_path: Path, split: str) -> None:
    document = run_json("prior", "build", "--data", data, "--out", tmp_path / "prior.db", "--split", split)
    assert document["split"]["split"] == {"time": "by time", "cold": "cold items"}[split]


@pytest.mark.slow
def test_bad_input_is_one_line_and_its_exit_code(data: Path, prior_path: Path, tmp_path: Path) -> None:
    new = written(tmp_path / "new.csv", [("user 1", "001", 1)])
    split = tmp_path / "split.db"
    run("prior", "build", "--data", data, "--out", split)
    (tmp_path / "text.db").write_text("no prior")
    for code, message, arguments in (
        (2, "exists already", ("build", "--data", data, "--out", prior_path)),
        (2, "exists already", ("build", "--data", data, "--out", tmp_path, "--force")),
        (2, "no data set", ("build", "--data", "nothing", "--out", tmp_path / "new.db")),
        (2, "training part of a split", ("update", "--prior", split, "--interactions", new)),
        (2, "later events", ("update", "--prior", prior_path, "--interactions", new)),
        (2, "no such prior", ("update", "--prior", tmp_path / "none.db", "--interactions", new)),
        (2, "no such file", ("update", "--prior", prior_path, "--interactions", tmp_path / "none.csv")),
        (16, "is not a prior", ("update", "--prior", tmp_path / "text.db", "--interactions", new)),
    ):
        result = call("prior", *arguments)
        assert (result.exit_code, result.stderr.count("\n"), result.stdout) == (code, 1, ""), result.stderr
        assert message in result.stderr
    assert run("prior", "build", "--data", data, "--out", prior_path, "--force").exit_code == 0


# ---- recommend


@pytest.mark.slow
@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
@pytest.mark.parametrize("kind", ["popularity", "sequence"])
def test_a_weighted_prior_is_added_to_the_score(
    ask: Callable[..., dict[str, Any]], prior_path: Path, score: str, kind: str
) -> None:
    alone = by_id(ask("--score", score))
    document = ask("--score", score, "--prior-file", prior_path, "--prior", kind, "--prior-weight", 0.5)
    truth = log_priors(prior_path, HISTORY, kind)
    assert document["exact"]
    assert by_id(document, "prior") == pytest.approx({i: truth[i] for i in alone}, abs=1e-9)
    assert by_id(document) == pytest.approx(alone, abs=1e-3)
    assert by_id(document, "bias") == pytest.approx({i: 0.5 * truth[i] for i in alone}, abs=1e-9)
    assert by_id(document, "score") == pytest.approx({i: alone[i] + 0.5 * truth[i] for i in alone}, abs=1e-3)
    scores = [item["score"] for item in document["items"]]
    assert scores == sorted(scores, reverse=True)
    model = document["model"]
    assert (model["prior"], model["prior_data"], model["prior_split"]) == (kind, "made", "all")
    assert model["prior_weight"] == 0.5
    assert model["prior_dropped"] == 0
    top = ask("--score", score, "--prior-file", prior_path, "--prior", kind, "--prior-weight", 0.5, k=5)
    assert list(by_id(top)) == list(by_id(document))[:5]


def test_a_sequence_prior_of_weight_four_is_what_a_file_alone_means(
    ask: Callable[..., dict[str, Any]], prior_path: Path
) -> None:
    named = ask("--prior-file", prior_path, "--prior", "sequence", "--prior-weight", 4)
    assert by_id(ask("--prior-file", prior_path), "score") == pytest.approx(by_id(named, "score"), abs=1e-3)


def test_seen_items_and_conditions_are_as_without_a_prior(ask: Callable[..., dict[str, Any]], prior_path: Path) -> None:
    assert not set(by_id(ask("--prior-file", prior_path))) & set(HISTORY)
    with_seen = ask("--prior-file", prior_path, "--allow-seen", k=60)
    assert {i: v for i, v in by_id(with_seen, "prior").items() if v == SEEN_LOGPROB}.keys() == set(HISTORY)
    few = ask("--prior-file", prior_path, "--where", "year = 1995", k=2)
    assert {item["year"] for item in few["items"]} == {1995}


def test_without_a_prior_nothing_is_said_of_one(ask: Callable[..., dict[str, Any]], prior_path: Path) -> None:
    for options in ((), ("--prior", "none", "--prior-file", prior_path)):
        document = ask(*options)
        assert "prior" not in document["model"]
        assert "prior" not in document["items"][0]
        assert {item["bias"] for item in document["items"]} == {0}


@pytest.mark.slow
def test_a_model_tuned_on_a_prior_stands_on_it(
    ask: Callable[..., dict[str, Any]], prior_path: Path, residual: Callable[[Mapping[str, Any]], Path]
) -> None:
    truth = log_priors(prior_path, HISTORY)
    silent = ask("--prior-file", prior_path, model=residual({"tau": 0.0, "lambda": 1.0}))
    found = by_id(silent)
    assert found == pytest.approx({i: truth[i] for i in found}, abs=1e-6)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert {item["bias"] for item in silent["items"]} == {0}
    assert (silent["model"]["prior_tau"], silent["model"]["prior_lambda"], silent["exact"]) == (0, 1, True)

    speaking = ask("--prior-file", prior_path, "--allow-seen", model=residual({"tau": 0.5, "lambda": 0.75}), k=60)
    assert sum(np.exp(list(by_id(speaking).values()))) == pytest.approx(1, abs=1e-6)
    assert by_id(speaking, "prior") == pytest.approx(truth)

    alone = by_id(ask(model=residual({"objective": "catalog"})))
    tuned = residual({"tau": 0.5, "lambda": 0.75})
    assert by_id(ask("--prior", "none", model=tuned)) == pytest.approx(alone, abs=1e-3)
    weighted = ask("--prior-file", prior_path, "--prior-weight", 2, model=tuned)
    assert by_id(weighted) == pytest.approx(alone, abs=1e-3)
    assert by_id(weighted, "bias") == pytest.approx({i: 2 * truth[i] for i in alone})


def test_a_model_tuned_on_a_prior_wants_one(
    tricky_path: Path, prior_path: Path, residual: Callable[[Mapping[str, Any]], Path]
) -> None:
    with pytest.raises(UsageError, match="was tuned to add to a counted prior") as error:
        Recommender.open(residual({"tau": 0.5, "lambda": 1.0}), tricky_path)
    assert "`prior`" in error.value.hint
    for record in ({}, {"tau": 0.5}, {"tau": 0.5, "lambda": "much"}):
        with pytest.raises(ModelInvalidError, match="but not with numbers"):
            Recommender.open(residual(record), tricky_path, prior=prior_path)


@pytest.mark.slow
def test_options_that_do_not_fit_are_refused(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    plain = ("recommend", "--model", tiny_llama, "--catalog", tricky_path, "-k", 1)
    for message, options in (
        ("--prior or --prior-weight is given, and no prior; name it with --prior-file", ("--prior", "sequence")),
        ("--prior or --prior-weight is given, and no prior; name it with --prior-file", ("--prior-weight", 1)),
        ("--prior-weight must be at least 0, got -1.0", ("--prior-file", prior_path, "--prior-weight", -1)),
        ("--prior-weight must be a number, got nan", ("--prior-file", prior_path, "--prior-weight", "nan")),
        ("--calibrate must be at least 0, got -1.0", ("--calibrate", -1)),
        ("--calibrate must be finite and at least 0, got inf", ("--calibrate", "inf")),
        ("no such prior", ("--prior-file", tricky_path.with_name("none.db"))),
    ):
        result = call(*plain, *options)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
        assert message in result.stderr
    assert call(*plain, "--prior-file", tricky_path).exit_code == 16
    with pytest.raises(UsageError, match="`prior_kind` must be one of"):
        Recommender.open(tiny_llama, tricky_path, prior=prior_path, prior_kind="magic")  # type: ignore[arg-type]


def test_what_is_rated_low_is_not_followed(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    history = [Interaction(id="004", rating=5), Interaction(id="005", rating=1), Interaction(id="017", rating=4)]
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior=prior_path) as recommender:
        result = recommender.recommend(history, k=5, min_rating=3)
    truth = log_priors(prior_path, ["004", "017"])
    assert [r.prior for r in result.items] == pytest.approx([truth[r.item.id] for r in result.items])
    assert "005" not in {r.item.id for r in result.items}


def test_a_prior_follows_a_catalog_that_changes(
    tiny_llama: Path, tricky_path: Path, prior_path: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(tricky_path, tmp_path / "own.db"))
    with Recommender.open(tiny_llama, own, n_threads=1, prior=prior_path) as recommender:
        assert recommender.session.describe_model()["prior_dropped"] == 0
        edit.remove(own, ["004"])
        edit.add_item(own, "Quite New", id="new")
        found = {r.item.id: r.prior for r in recommender.recommend(k=60).items}
        assert recommender.session.describe_model()["prior_dropped"] == 1
    assert found["new"] is not None
    assert found["new"] == min(value for value in found.values() if value is not None)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
def test_a_calibration_takes_off_what_is_usual(tiny_llama: Path, tricky_path: Path, own_home: Path, score: Any) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, score=score) as recommender:
        usual = {r.item.id: r.logprob for r in recommender.recommend(k=60).items}
        plain = {r.item.id: r.logprob for r in recommender.recommend(["Alien"], k=59).items}
        recommender.calibrate(0.5)
        result = recommender.recommend(["Alien"], k=59)
        assert result.model["calibrate"] == 0.5
        for r in result.items:
            assert r.logprob == pytest.approx(plain[r.item.id], abs=1e-3)
            assert r.bias == pytest.approx(-0.5 * usual[r.item.id], abs=1e-3)
            assert r.score == r.logprob + r.bias
        recommender.calibrate(0)
        assert {r.bias for r in recommender.recommend(["Alien"], k=5).items} == {0}


@pytest.mark.slow
def test_a_calibration_is_kept_and_made_anew_for_another_catalog_or_a_damaged_file(
    tiny_llama: Path, tricky_path: Path, own_home: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(tricky_path, tmp_path / "own.db"))

    def biases() -> tuple[dict[str, float], list[int]]:
        told: list[int] = []
        with Recommender.open(tiny_llama, own, n_threads=1) as recommender:
            recommender.calibrate(1.0, lambda done, _total: told.append(done))
            return {r.item.id: r.bias for r in recommender.recommend(k=20).items}, told

    first, told = biases()
    assert told == list(range(1, 61))
    assert biases() == (first, [])
    (kept,) = own_home.rglob("habits-*.npz")
    with np.load(kept) as archive:
        arrays = dict(archive)
    np.savez(kept, **(arrays | {"logprobs": arrays["logprobs"] + 1}))
    assert biases()[0] == pytest.approx({i: bias - 1 for i, bias in first.items()})  # it was read
    for damage in (b"", b"PK\x03\x04 no", kept.read_bytes()[:-40]):
        kept.write_bytes(damage)
        assert biases() == (first, told)
    np.savez(kept, **(arrays | {"logprobs": np.full(60, np.nan)}))
    assert biases() == (first, told)
    edit.add_item(own, "Quite New", id="new")
    assert len(biases()[1]) == 61


@pytest.mark.slow
def test_calibrate_on_the_command_line(ask: Callable[..., dict[str, Any]], prior_path: Path) -> None:
    plain = ask("--calibrate", 0.25)
    assert plain["model"]["calibrate"] == 0.25
    both = ask("--calibrate", 0.25, "--prior-file", prior_path, "--prior-weight", 1)
    for_prior = log_priors(prior_path, HISTORY)
    expected = {i: bias + for_prior[i] for i, bias in by_id(plain, "bias").items()}
    assert by_id(both, "bias") == pytest.approx(expected, abs=1e-9)


def test_free_text_has_no_prior(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior=prior_path) as recommender:
        result = recommender.recommend(["Alien"], k=3, decode="free")
    assert all(r.prior is None and r.bias == 0 for r in result.items)


def rows_of(path: Path) -> NDArray[np.int64]:
    with Catalog.open(path) as opened:
        return np.array([row for row, _, _ in opened.titles()], np.int64)


@pytest.mark.slow
def test_another_catalog_gets_what_it_shares(
    ask: Callable[..., dict[str, Any]], prior_path: Path, films_path: Path, tiny_llama: Path
) -> None:
    """The films that come along have most of these titles, under other ids."""
    with Recommender.open(tiny_llama, films_path, n_threads=1, prior=prior_path) as recommender:
        described = recommender.session.describe_model()
        assert 0 < int(described["prior_dropped"] or 0) < 30
        added = recommender.session.fused_scores(CatalogRows(rows_of(films_path)[:3]))
        assert added.log_prior is not None
        assert np.isfinite(added.log_prior).all()
        assert np.exp(added.log_prior).sum() == pytest.approx(1)
