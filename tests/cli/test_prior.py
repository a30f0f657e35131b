"""`genrec-edge prior`, and `recommend` with priors and calibrations: against the plain search and the counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import Recommender, cli
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.errors import UsageError
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.model import DEFAULT, SEEN_LOGPROB, PriorCounts
from tests.support.interactions import make
from tests.support.prior_files import import_events, log_priors, write_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from typer.testing import Result

pytestmark = pytest.mark.usefixtures("own_home")

HISTORY = ["004", "005", "017"]


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


def by_id(document: dict[str, Any], field: str = "logprob") -> dict[str, float]:
    return {item["id"]: item[field] for item in document["items"]}


@pytest.fixture
def ask(tiny_llama: Path, tricky_path: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Returns a function that recommends everything that is not seen, by the tiny model or another."""
    history_path = tmp_path / "history.jsonl"
    history_path.write_text("".join(json.dumps({"id": item_id}) + "\n" for item_id in HISTORY))
    usual = ["--catalog", tricky_path, "--threads", 1, "--budget", 10**6, "--history-file", history_path]

    def recommend(*options: object, model: Path = tiny_llama, k: int = 57) -> dict[str, Any]:
        kind = [] if "--prior" in options else ["--prior", "sequence" if "--prior-file" in options else "none"]
        return run_json("recommend", "--model", model, *usual, "-k", k, *kind, *options)

    return recommend


# ---- build and update


def test_the_training_part_is_counted_and_nothing_else(prior_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "prior.db"
    document = run_json("prior", "build", "--data", prior_data, "--out", out, "--ties", "item")
    split = leave_one_out(load(prior_data), "item")
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


@pytest.mark.slow
def test_all_events_are_counted_and_more_are_added(
    prior_data: Path, tmp_path: Path, prior_events: list[tuple[str, str, int]]
) -> None:
    late = [event for event in prior_events if event[2] % 1000 >= 8]
    early = import_events([event for event in prior_events if event not in late], tmp_path / "early")
    out = tmp_path / "prior.db"
    assert run("prior", "build", "--data", early, "--split", "all", "--out", out).stdout == f"{out}\n"
    done = run("prior", "update", "--prior", out, "--interactions", write_events(tmp_path / "late.csv", late))
    assert done.stdout == f"{out}\n"
    assert f"{len(late)} events of" in done.stderr
    expected = PriorCounts.of(user_histories(load(prior_data), "file"), 60)
    counts = ItemPrior.open(out).counts
    assert counts.events.tolist() == expected.events.tolist()
    assert counts.transitions.values == pytest.approx(expected.transitions.values, abs=1e-9)
    more = write_events(tmp_path / "more.csv", [("someone", "001", 99_999)])
    document = run_json("prior", "update", "--prior", out, "--interactions", more)
    assert document == {
        "schema": "genrec-edge/prior-update@1",
        "path": str(out),
        "events": 1,
        "users": 1,
        "new_users": 1,
    }


@pytest.mark.slow
def test_an_update_takes_the_options_that_its_messages_name(prior_path: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    new.write_text("cust,prod,when\nsomeone,001,2033-05-18\nsomeone,zz,2033-05-18\n")
    update = ("prior", "update", "--prior", prior_path, "--interactions", new)
    refused = call(*update)
    assert refused.exit_code == 2
    assert refused.stderr.endswith("; name the column with --user, --item, --timestamp\n")
    named = (*update, "--user", "cust", "--item", "prod", "--timestamp", "when")
    refused = call(*named)
    assert "--skip-unknown leaves such events out" in refused.stderr
    done = run(*named, "--skip-unknown")
    assert "left out: 1 event of an item not in the item table: 'zz'" in done.stderr
    assert "1 events of 1 users, 1 of them new" in done.stderr


def test_fitted_coefficients_are_kept_in_the_file(prior_data: Path, tmp_path: Path) -> None:
    document = run_json("prior", "build", "--data", prior_data, "--out", tmp_path / "prior.db", "--fit")
    coefficients = ItemPrior.open(tmp_path / "prior.db").card.coefficients
    assert document["coefficients"]["weights"] == list(coefficients.weights)
    assert coefficients != DEFAULT
    assert document["fit"]["nats"] < document["fit"]["default_nats"]


@pytest.mark.parametrize("split", ["time", "cold"])
def test_other_splits_can_be_counted(prior_data: Path, tmp_path: Path, split: str) -> None:
    document = run_json("prior", "build", "--data", prior_data, "--out", tmp_path / "prior.db", "--split", split)
    assert document["split"]["split"] == {"time": "global temporal", "cold": "cold items"}[split]


def test_only_likes_are_counted_and_an_update_says_that_it_counts_all(tmp_path: Path) -> None:
    rows = ["x,a,1,7", "x,b,2,6", "x,c,3,9", "y,b,4,8", "y,a,5,3", "y,c,6,"]
    made = make(tmp_path, "user,item,timestamp,rating\n" + "\n".join(rows), "id,title\na,A\nb,B\nc,C\n")
    out = tmp_path / "prior.db"
    command = ("prior", "build", "--data", made, "--split", "all", "--out", out, "--min-rating", 7)
    assert "left out: 2 of 6 events, rated below 7; kept: 1 event without a rating\n" in run(*command).stderr
    prior = ItemPrior.open(out)
    assert prior.counts.events.tolist() == [1, 1, 2]
    assert prior.card.split["filters"] == ["rated 7 or higher"]
    new = tmp_path / "new.csv"
    new.write_text("user,item,timestamp\nz,a,7\n", encoding="utf-8")
    said = "this prior was counted from events rated 7 or higher; all new ones are counted\n"
    assert said in run("prior", "update", "--prior", out, "--interactions", new).stderr


@pytest.mark.slow
def test_bad_input_is_one_line_and_its_exit_code(prior_data: Path, prior_path: Path, tmp_path: Path) -> None:
    new = write_events(tmp_path / "new.csv", [("user 1", "001", 1)])
    split = tmp_path / "split.db"
    run("prior", "build", "--data", prior_data, "--out", split)
    (tmp_path / "text.db").write_text("no prior")
    for code, message, arguments in (
        (2, "exists already", ("build", "--data", prior_data, "--out", prior_path)),
        (2, "exists already", ("build", "--data", prior_data, "--out", tmp_path, "--force")),
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
    assert run("prior", "build", "--data", prior_data, "--out", prior_path, "--force").exit_code == 0


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
    # Titles of a random model reach -2,000 nats, in 32 bits.
    assert by_id(document) == pytest.approx(alone, abs=1e-3, rel=1e-5)
    assert by_id(document, "bias") == pytest.approx({i: 0.5 * truth[i] for i in alone}, abs=1e-9)
    assert by_id(document, "score") == pytest.approx({i: alone[i] + 0.5 * truth[i] for i in alone}, abs=1e-3, rel=1e-5)
    scores = [item["score"] for item in document["items"]]
    assert scores == sorted(scores, reverse=True)
    model = document["model"]
    assert (model["prior"], model["prior_data"], model["prior_split"]) == (kind, "made", "all")
    assert model["prior_weight"] == 0.5
    assert model["prior_dropped"] == 0
    top = ask("--score", score, "--prior-file", prior_path, "--prior", kind, "--prior-weight", 0.5, k=5)
    assert list(by_id(top)) == list(by_id(document))[:5]


@pytest.mark.slow
def test_a_sequence_prior_of_weight_four_is_what_a_file_alone_means(
    ask: Callable[..., dict[str, Any]], prior_path: Path
) -> None:
    named = ask("--prior-file", prior_path, "--prior", "sequence", "--prior-weight", 4)
    assert by_id(ask("--prior-file", prior_path), "score") == pytest.approx(by_id(named, "score"), abs=1e-3)


@pytest.mark.slow
def test_seen_items_and_conditions_are_as_without_a_prior(ask: Callable[..., dict[str, Any]], prior_path: Path) -> None:
    assert not set(by_id(ask("--prior-file", prior_path))) & set(HISTORY)
    with_seen = ask("--prior-file", prior_path, "--allow-seen", k=60)
    assert {i: v for i, v in by_id(with_seen, "prior").items() if v == SEEN_LOGPROB}.keys() == set(HISTORY)
    few = ask("--prior-file", prior_path, "--where", "year = 1995", k=2)
    assert {item["year"] for item in few["items"]} == {1995}


@pytest.mark.slow
def test_without_a_prior_nothing_is_said_of_one(ask: Callable[..., dict[str, Any]], prior_path: Path) -> None:
    for options in ((), ("--prior", "none", "--prior-file", prior_path)):
        document = ask(*options)
        assert "prior" not in document["model"]
        assert "prior" not in document["items"][0]
        assert {item["bias"] for item in document["items"]} == {0}


@pytest.mark.slow
def test_a_model_tuned_on_a_prior_stands_on_it(
    ask: Callable[..., dict[str, Any]], prior_path: Path, residual_model: Callable[[Mapping[str, Any]], Path]
) -> None:
    truth = log_priors(prior_path, HISTORY)
    silent = ask("--prior-file", prior_path, model=residual_model({"tau": 0.0, "lambda": 1.0}))
    found = by_id(silent)
    assert found == pytest.approx({i: truth[i] for i in found}, abs=1e-6)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert {item["bias"] for item in silent["items"]} == {0}
    assert (silent["model"]["prior_tau"], silent["model"]["prior_lambda"], silent["exact"]) == (0, 1, True)

    speaking = ask("--prior-file", prior_path, "--allow-seen", model=residual_model({"tau": 0.5, "lambda": 0.75}), k=60)
    assert sum(np.exp(list(by_id(speaking).values()))) == pytest.approx(1, abs=1e-6)
    assert by_id(speaking, "prior") == pytest.approx(truth)

    alone = by_id(ask(model=residual_model({"objective": "catalog"})))
    tuned = residual_model({"tau": 0.5, "lambda": 0.75})
    assert by_id(ask("--prior", "none", model=tuned)) == pytest.approx(alone, abs=1e-3)
    weighted = ask("--prior-file", prior_path, "--prior-weight", 2, model=tuned)
    assert by_id(weighted) == pytest.approx(alone, abs=1e-3)
    assert by_id(weighted, "bias") == pytest.approx({i: 2 * truth[i] for i in alone})


@pytest.mark.slow
def test_commands_take_a_model_tuned_on_a_prior_and_the_options_that_messages_name(
    tmp_path: Path, tricky_path: Path, prior_path: Path, residual_model: Callable[[Mapping[str, Any]], Path]
) -> None:
    tuned = residual_model({"tau": 0.5, "lambda": 0.75})
    opening = ("--model", tuned, "--catalog", tricky_path, "--threads", 1)
    (tmp_path / "candidates.txt").write_text("006\n007\n")
    rerank = ("rerank", "--candidates", tmp_path / "candidates.txt", "-H", "004", *opening)
    bench = ("bench", "-n", 2, "--history-length", 2, "-k", 2, *opening)
    for command in (rerank, bench):
        refused = call(*command)
        assert refused.exit_code == 2
        assert "name it with --prior-file, or set --prior to none" in refused.stderr
        run(*command, "--prior", "none")
    document = run_json(*rerank, "--prior-file", prior_path)
    truth = log_priors(prior_path, ["004"])
    assert by_id(document, "prior") == pytest.approx({i: truth[i] for i in ("006", "007")}, abs=1e-9)
    assert "prior" in run(*bench, "--prior-file", prior_path).stdout
    for verdict in (("judge", "006"), ("compare", "006", "007"), ("queries", "006"), ("describe", "-H", "004")):
        assert "counted prior" not in call(*verdict, *opening).stderr  # verdicts and words have no use for one


@pytest.mark.slow
def test_options_that_do_not_fit_are_refused(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    plain = ("recommend", "--model", tiny_llama, "--catalog", tricky_path, "-k", 1)
    for message, options in (
        ("--prior is sequence, and no prior is given; name it with --prior-file", ("--prior", "sequence")),
        (
            "--prior-weight is given, and --prior is none; leave one of them out",
            ("--prior", "none", "--prior-weight", 1),
        ),
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


@pytest.mark.slow
def test_calibrate_on_the_command_line(ask: Callable[..., dict[str, Any]], prior_path: Path) -> None:
    plain = ask("--calibrate", 0.25)
    assert plain["model"]["calibrate"] == 0.25
    both = ask("--calibrate", 0.25, "--prior-file", prior_path, "--prior-weight", 1)
    for_prior = log_priors(prior_path, HISTORY)
    expected = {i: bias + for_prior[i] for i, bias in by_id(plain, "bias").items()}
    assert by_id(both, "bias") == pytest.approx(expected, abs=1e-9)
