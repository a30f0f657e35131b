"""`genrec-edge evaluate`: figures on stdout, progress on stderr, one JSON object, and the folder of --plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import k_core, leave_one_out
from genrec_edge.engine.bindings import quantize
from genrec_edge.evaluation.external_scores import save_scores
from tests.support.interactions import make as made

if TYPE_CHECKING:
    from typer.testing import Result

PUBLISHED = {"file": (0.0870, 0.0445), "item": (0.0498, 0.0251)}
"""HR@10 and NDCG@10 of popularity on the 5-core of ML-100K, by the rule for ties."""


@pytest.fixture(autouse=True)
def _place(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, ["evaluate", *arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def run(*arguments: str) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def run_json(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return document


def shape(value: object) -> object:
    """Return a JSON value with every leaf replaced by the name of its type."""
    if isinstance(value, dict):
        return {key: shape(below) for key, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value]
    return "null" if value is None else type(value).__name__


@pytest.mark.parametrize("ties", PUBLISHED)
def test_popularity_has_its_published_figures(ml_100k: Path, ties: str) -> None:
    document = run_json("--data", str(ml_100k), "--baselines", "popularity", "--min-count", "5", "--ties", ties)
    (system,) = document["systems"]
    found = system["metrics"]["hr@10"]["mean"], system["metrics"]["ndcg@10"]["mean"]
    assert found == pytest.approx(PUBLISHED[ties], abs=0.00005)
    assert document["split"]["ties"] == ties
    assert (document["split"]["filters"], document["split"]["items"]) == (["5-core"], 1682)
    assert document["protocol"]["users"] == 943
    assert system["answers"]["coverage@10"] < 0.1


@pytest.mark.slow
def test_the_json_object_is_the_documented_one(small_data: Path, tiny_llama: Path) -> None:
    document = run_json(
        "--data", str(small_data), "--model", str(tiny_llama), "--baselines", "popularity", "--threads", "1"
    )
    estimate = {"mean": "float", "low": "float", "high": "float"}
    nothing = {"mean": "null", "low": "null", "high": "null"}
    baseline, model = (shape(system) for system in document["systems"])
    assert isinstance(model, dict)
    assert isinstance(baseline, dict)
    assert baseline.keys() == model.keys()
    assert model["metrics"] == {f"{m}@{k}": estimate for m in ("hr", "ndcg", "mrr") for k in (1, 3, 5, 10, 20)}
    assert all(
        part in ({"users": "int", "hr@10": e, "ndcg@10": e} for e in (estimate, nothing))
        for part in model["segments"].values()
    )
    assert model["answers"].keys() == {
        *("exact", "valid", "distinct"),
        *("coverage@10", "items@10", "overlap@10", "popularity_rank@10"),
    }
    cost = ("tokens_per_user", "latency_p50_s", "latency_p95_s", "users_per_s", "peak_memory_mib")
    assert model["cost"] == dict.fromkeys(cost, "float")
    test = {"difference": estimate, "p": "float"}
    assert shape(document["tests"]) == [{"system": "str", "against": "str", "hr@10": test, "ndcg@10": test}]
    assert document.keys() == {"schema", "split", "protocol", "systems", "best_baseline", "tests", "machine"}
    assert (document["schema"], document["best_baseline"]) == ("genrec-edge/evaluation@1", "popularity")
    assert document["systems"][1]["about"]["score"] == "vocabulary"
    assert document["systems"][1]["answers"]["exact"] == 1


@pytest.mark.slow
def test_the_table_names_split_and_tests(small_data: Path, tiny_llama: Path) -> None:
    options = [
        "--data",
        str(small_data),
        "--model",
        str(tiny_llama),
        "--baselines",
        "popularity,free",
        "--threads",
        "1",
    ]
    result = run(*options, "--reference", "tiny-llama, free text")
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "small, leave-one-out, ties by file order: the test items of 6 users, all 12 items ranked, seen ones removed"
    )
    assert lines[2].split()[:5] == ["system", "HR@10", "NDCG@10", "rare", "cold"]
    assert [line.split("  ")[0].strip() for line in lines[4:7]] == ["popularity", "tiny-llama, free text", "tiny-llama"]
    assert "users with history" in result.stdout
    assert "tiny-llama against popularity: HR@10 " in result.stdout
    assert "tiny-llama against tiny-llama, free text: HR@10 " in result.stdout
    assert "tiny-llama: 6 of 6 users" in result.stderr
    assert run(*options, "--quiet").stderr == ""


def test_a_narrow_terminal_keeps_the_columns_that_matter(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = run("--data", str(small_data), "--baselines", "popularity").stdout.splitlines()[2:5]
    assert table[0].split()[:3] == ["system", "HR@10", "NDCG@10"]
    assert "users/s" not in table[0]
    assert all(len(line) <= 60 for line in table)


@pytest.mark.slow
def test_answers_are_kept_and_not_asked_for_again(small_data: Path, tiny_llama: Path) -> None:
    options = ["--data", str(small_data), "--model", str(tiny_llama), "--baselines", "none", "--resume", "kept"]
    first = run(*options, "--threads", "1", "--users", "4", "--json")
    (path,) = Path("kept").glob("tiny-llama-*.jsonl")
    content = path.read_bytes()
    again = run(*options, "--threads", "1", "--users", "4", "--json")
    assert again.stdout == first.stdout  # times and all: nothing was asked
    assert path.read_bytes() == content
    run(*options, "--threads", "1")
    assert path.read_bytes().startswith(content)
    refused = call(*options, "--threads", "1", "--score", "catalog")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "belongs to another job: system.score differ" in refused.stderr


@pytest.mark.slow
def test_a_folder_of_pictures_with_the_curve_of_file_types(small_data: Path, tiny_llama: Path) -> None:
    quantize(tiny_llama, Path("tiny-Q8_0.gguf"), "Q8_0", n_threads=1)
    models = ["--model", str(tiny_llama), "--model", "tiny-Q8_0.gguf"]
    options = [
        "--data",
        str(small_data),
        *models,
        "--threads",
        "1",
        "--baselines",
        "popularity",
        "--plot",
        "made/plots",
    ]
    document = run_json(*options)
    folder = Path("made/plots")
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == document
    assert [system["about"].get("quant") for system in document["systems"]] == [None, "F32", "Q8_0"]
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    assert text.count("| tiny") == 2
    assert "ties by file order" in text
    for name in ("quality.png", "quants.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    run("--data", str(small_data), "--baselines", "popularity", "--plot", "one", "--quiet")
    assert sorted(path.name for path in Path("one").iterdir()) == ["evaluation.json", "evaluation.md", "quality.png"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kind", "n_users"),
    [
        (["--split", "time"], "global temporal", None),
        (["--split", "cold"], "cold items", None),
        (["--target", "validation"], "leave-one-out", 6),
        (["--users", "2", "--seed", "3"], "leave-one-out", 2),
        (["--candidates", "2"], "leave-one-out", 6),
    ],
)
def test_splits_and_protocols(small_data: Path, options: list[str], kind: str, n_users: int | None) -> None:
    document = run_json("--data", str(small_data), *options)
    assert document["split"]["split"] == kind
    names = ["random", "popularity", "item-knn", "ease", "sequential", "prior", "facts", "liked", "mixture"]
    assert [system["name"] for system in document["systems"]] == names
    assert n_users in (None, document["protocol"]["users"])
    if "--candidates" in options:
        assert all(system["metrics"]["hr@5"]["mean"] == 1 for system in document["systems"])


def test_a_prior_is_counted_from_the_training_part(small_data: Path, tiny_llama: Path) -> None:
    options = ["--data", str(small_data), "--model", str(tiny_llama), "--threads", "1", "--baselines", "prior"]
    weights = ["--prior", "sequence", "--prior-weight", "0", "--prior-weight", "1000"]
    document = run_json(*options, *weights, "--target", "validation")
    prior, alone, fused = document["systems"]
    assert [alone["name"], fused["name"]] == ["tiny-llama", "tiny-llama + 1000 sequence"]
    found = [system["metrics"]["ndcg@10"]["mean"] for system in (prior, alone, fused)]
    assert found[2] == pytest.approx(found[0], abs=0.01)  # the model only chooses among equals any more
    assert abs(found[1] - found[0]) > 0.02
    assert (alone["about"]["prior"], fused["about"]["prior_weight"]) == (None, 1000)


def test_the_mixture_is_counted_from_the_training_part(small_data: Path, tiny_llama: Path) -> None:
    options = ["--data", str(small_data), "--model", str(tiny_llama), "--threads", "1", "--baselines", "mixture"]
    document = run_json(*options, "--prior-weight", "1000000", "--target", "validation")
    mixture, fused = document["systems"]
    assert (mixture["name"], fused["name"]) == ("mixture", "tiny-llama + 1e+06 mixture")
    assert fused["metrics"] == mixture["metrics"]  # the model only chooses among equals any more
    assert (fused["about"]["prior"], fused["about"]["prior_weight"]) == ("mixture", 1e6)


@pytest.mark.slow
def test_events_may_be_asked_for_among_the_films_of_the_package(
    tmp_path: Path, films_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All users like crime films, and meet one of them that no other had before."""
    monkeypatch.setenv("GENREC_EDGE_CATALOGS", str(films_path.parent))
    films = ("Pulp Fiction,1994", "Reservoir Dogs,1992", "Jackie Brown,1997", "Heat,1995", "Fargo,1996", "My Own,1999")
    events = [f"{user},{(user + place) % 6},{place}" for user in range(6) for place in range(4)]
    items = "id,title,year\n" + "".join(f"{i},{film}\n" for i, film in enumerate(films))
    made(tmp_path, "user,item,timestamp\n" + "\n".join(events), items)
    options = ("--data", str(tmp_path / "made"), "--transfer", "--baselines", "random,facts,liked,mixture")
    result = run(*options)
    assert "5 of 6 films, 20 of 24 events are found among the 28,469 films that come with the package" in result.stderr
    assert "all 28,469 items ranked" in result.stdout
    document = run_json(*options, "--candidates", "100")
    found = {system["name"]: system["metrics"]["ndcg@10"]["mean"] for system in document["systems"]}
    assert found["random"] < 0.3 < min(found["liked"], found["mixture"])
    assert document["split"]["filters"] == ["found among the films that come with the package"]


def test_scores_of_another_program_stand_beside_the_rest(small_data: Path) -> None:
    dataset = load(small_data)
    split = leave_one_out(dataset, "file")
    scores = np.zeros((dataset.n_users, dataset.n_items))
    scores[split.users, split.test[split.users]] = 1  # an oracle
    save_scores(Path("oracle.npz"), scores, split)
    options = ["--data", str(small_data), "--baselines", "popularity", "--scores", "oracle=oracle.npz"]
    document = run_json(*options)
    assert document["best_baseline"] == "oracle"
    assert document["systems"][1]["metrics"]["ndcg@1"]["mean"] == 1
    other = call(*options, "--ties", "item")
    assert (other.exit_code, other.stdout) == (2, "")
    assert "oracle.npz was made for another evaluation: split.ties differ" in other.stderr
    nobody = call(*options, "--preference", "none", "--intent", "specific")
    assert (nobody.exit_code, nobody.stdout) == (2, "")
    assert "oracle.npz has no scores for a user without a history; leave out " in nobody.stderr
    with pytest.raises(Exception, match="no event"):
        k_core(dataset, 50)


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--baselines", "popular"], 2, ": 'popular'; known: random, popularity,"),
        (["--baselines", "free"], 2, "the baseline 'free' needs a model"),
        (["--baselines", "none"], 2, "no systems to evaluate; name a --model, or other --baselines, or"),
        (["--scores", "file.npz"], 2, "must be NAME=FILE.npz, got 'file.npz'"),
        (["--scores", "x=missing.npz"], 2, "missing.npz cannot be used"),
        (["--model", "no-such-model"], 4, "no-such-model"),
        (["--model", "missing.gguf"], 2, "missing.gguf"),
        (["--min-count", "50"], 2, "no event of small is left"),
        (["--users", "0"], 2, "must be at least 1, got 0"),
        (["--candidates", "12"], 2, "must be from 1 to "),
        (["--negatives", "week-popularity"], 2, "--negatives that are chosen need a number of candidates; give --cand"),
        (["--negatives", "month"], 2, "--negatives must be random, week-popularity or the name of a baseline, got 'm"),
        (["--min-rating", "7"], 2, "--min-rating 7 leaves all events of small: none has a rating; leave it out, or im"),
        (["--min-rating", "nan"], 2, "--min-rating must be a number, got nan"),
        (["--min-age", "1"], 2, "no test item of small was 1 years old or older when its user met it; take a smaller"),
        (["--reference", "x"], 2, "'x' is not the name of a system"),
        (["--data", "nothing"], 2, "no data set 'nothing'"),
        (["--max-history", "0", "--model", "TINY"], 2, "--max-history must be at least 1, got 0"),
        (["--max-history", "0"], 2, "--max-history must be at least 1, got 0"),
        (["--max-history", "3"], 2, "--max-history is about models, and none is given; name one with --model"),
        (["--prior-weight", "2", "--score", "catalog"], 2, "--prior-weight, --score is about models, and none is"),
        (["--prior-weight", "-1"], 2, "--prior-weight must be finite and at least 0, got -1.0"),
        (["--prior-weight", "nan", "--model", "TINY"], 2, "--prior-weight must be finite and at least 0, got nan"),
        (["--prior-weight", "inf", "--model", "TINY"], 2, "--prior-weight must be finite and at least 0, got inf"),
        (["--prior", "facts"], 2, "'facts'"),
        (["--threads", "0", "--model", "TINY"], 2, "--threads must be from 1 to 512, got 0"),
        (["--threads", "99999", "--model", "TINY"], 2, "--threads must be from 1 to 512, got 99999"),
        (["--plot", "file"], 2, "file"),
    ],
)
def test_failures_are_one_line_and_keep_stdout_empty(
    small_data: Path, tiny_llama: Path, options: list[str], exit_code: int, message: str
) -> None:
    Path("file").write_text("")
    options = [str(tiny_llama) if option == "TINY" else option for option in options]
    result = call("--data", str(small_data), *options, "--quiet")
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.stderr
    (line,) = result.stderr.splitlines()
    assert message in line


def test_users_who_are_not_asked_about_are_counted(tmp_path: Path) -> None:
    rows = [f"{user},{item},{time}" for user in range(12) for time, item in enumerate((user % 5, 5, 6, 7 + user % 5))]
    rows += ["short,1,1", "again,1,1", "again,2,2", "again,3,3", "again,1,4"]
    made(tmp_path, "user,item,timestamp\n" + "\n".join(rows), "id,title\n" + "".join(f"{i},F {i}\n" for i in range(20)))
    options = ("--data", str(tmp_path / "made"), "--baselines", "popularity", "-k", "10")
    said = "2 users have no test item: too few events, or one they had met before\n"
    assert said in run(*options).stderr
    assert run(*options, "--quiet").stderr == ""


def test_likes_old_films_and_films_of_the_week(tmp_path: Path) -> None:
    """Each user met three films they liked, the last of them in turn of 1990 and of 2013, and then one they did not."""
    items = "id,title,year\n" + "".join(f"{i},F {i},{2013 if i % 2 else 1990}\n" for i in range(40))
    rows = []
    for user in range(30):
        liked = ((user, 9), (user + 3, 7), ((user + 2) % 40, 8))
        rows += [f"{user},{item},1372636{user:02d}{place},{rating}" for place, (item, rating) in enumerate(liked)]
        rows.append(f"{user},39,1372636{user:02d}9,2")
    made(tmp_path, "user,item,timestamp,rating\n" + "\n".join(rows), items)
    options = ["--data", str(tmp_path / "made"), "--baselines", "popularity", "--min-rating", "7", "--min-age", "1"]
    result = run(*options, "--candidates", "4", "--negatives", "week-popularity")
    assert "left out: 30 of 120 events, rated below 7\n" in result.stderr
    assert "left out: 15 of 30 targets younger than 1 year\n" in result.stderr
    said = (
        "rated 7 or higher, ties by file order: the test items of 15 users, 1 year old or older, 1 + 4 items ranked, "
    )
    assert f"{said}by the popularity of their week" in result.stdout.replace("\n", " ")
    document = run_json(*options)
    assert document["split"]["filters"] == ["rated 7 or higher"]
    assert (document["protocol"]["users"], document["protocol"]["min_age"]) == (15, 1)
    (system,) = document["systems"]
    assert 10 <= system["answers"]["items@10"] <= 40
    assert 0 < system["answers"]["overlap@10"] <= 1
