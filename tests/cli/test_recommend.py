"""`genrec-edge recommend`: the documented JSON object, and every option reaches the request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import assert_one_line, run, run_json, run_text, titles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")

HISTORY = ("-H", "Toy Story", "-H", "Aladdin")
IN_WORDS = ("--preference", "loud ones", "--intent", "comedy, 1990s", "--context", "when=tonight")


def shape(value: object) -> object:
    """Return a JSON value with every leaf replaced by the name of its type."""
    if isinstance(value, dict):
        return {key: shape(below) for key, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value]
    return "null" if value is None else type(value).__name__


def test_the_json_object_is_the_documented_one(
    recommend_command: list[str], tricky_path: Path, tiny_llama: Path
) -> None:
    history = ("-H", "teh matrx", "-H", "Heat", "-H", "9999")
    document = run_json(*recommend_command, *history, "-k", "1", "--where", "year = 1979 AND rating > 8")
    assert shape(document) == {
        "schema": "str",
        "items": [
            {
                "rank": "int",
                "id": "str",
                "title": "str",
                "year": "int",
                "score": "float",
                "logprob": "float",
                "bias": "float",
                "prior": "float",
                "parts": {"model": "float", "facts": "float", "liked": "float"},
                "columns": {"genres": "str", "rating": "float"},
            }
        ],
        "exact": "bool",
        "gap": "float",
        "resolved": [
            {"input": "str", "id": "str", "title": "str", "year": "int", "method": "str", "confidence": "float"}
        ],
        "unresolved": [
            {
                "input": "str",
                "method": "str",
                "candidates": [{"id": "str", "title": "str", "year": "int"}] * 2,
            },
            {"input": "str", "method": "str", "candidates": []},
        ],
        "left_out": [],
        "named": [],
        "reading": "null",
        "where": "str",
        "loosened": [],
        "history_met": "null",
        "dropped": "int",
        "refused": "int",
        "model": {
            "name": "str",
            "path": "str",
            "quant": "null",
            "adapter": "null",
            "score": "str",
            "prompt": "str",
            "prior": "str",
            "prior_facts": "float",
            "prior_liked": "float",
            "prior_weight": "float",
        },
        "catalog": {"name": "str", "path": "str", "items": "int", "revision": "str"},
        "timings": {
            "load_s": "float",
            "prompt_s": "float",
            "decode_s": "float",
            "engine_s": "float",
            "prompt_tokens": "int",
            "reused_tokens": "int",
            "evaluated_tokens": "int",
            "engine_calls": "int",
        },
    }
    assert document["schema"] == "genrec-edge/recommend@1"
    (item,) = document["items"]
    assert (item["rank"], item["id"], item["title"], item["year"]) == (1, "004", "Alien", 1979)
    assert item["columns"] == {"genres": "Horror, Science Fiction", "rating": 8.5}
    assert item["score"] == item["logprob"] + item["bias"]
    assert (document["exact"], document["gap"], document["dropped"]) == (True, 0, 0)
    assert document["resolved"][0] | {"confidence": 0} == {
        "input": "teh matrx",
        "id": "002",
        "title": "Matrix, The",
        "year": 1999,
        "method": "fuzzy",
        "confidence": 0,
    }
    assert [u["method"] for u in document["unresolved"]] == ["ambiguous", "none"]
    assert document["model"]["path"] == str(tiny_llama)
    assert (document["catalog"]["path"], document["catalog"]["items"]) == (str(tricky_path), 60)


@pytest.mark.slow
def test_every_option_reaches_the_request(recommend_command: list[str]) -> None:
    assert len(run_json(*recommend_command)["items"]) == 10
    score_all = titles(run_json(*recommend_command, "-H", "Jaws", "-k", "59"))
    assert "Jaws" not in score_all
    assert "Jaws" in titles(run_json(*recommend_command, "-H", "Jaws", "-k", "60", "--allow-seen"))
    best = score_all[0]
    assert best not in titles(run_json(*recommend_command, "-H", "Jaws", "-k", "3", "--exclude", best))
    chosen = run_json(*recommend_command, "-k", "2", "--candidate", "Alien", "--candidate", "005")
    assert set(titles(chosen)) == {"Alien", "Aliens"}
    beam = run_json(*recommend_command, "-H", "Jaws", "-k", "3", "--decode", "beam")
    assert len(beam["items"]) == 3
    by_catalog = run_json(*recommend_command, "-k", "60", "--score", "catalog")
    assert by_catalog["model"]["score"] == "catalog"
    rated = '{"title": "Jaws", "rating": 5}\n{"title": "Fargo", "rating": 1}\n'
    strict = run_json(*recommend_command, "--history-file", "-", "--min-rating", "3", stdin=rated)
    lax = run_json(*recommend_command, "--history-file", "-", stdin=rated)
    assert strict["timings"]["prompt_tokens"] < lax["timings"]["prompt_tokens"]
    free = [*recommend_command, "--decode", "free", "--temperature", "1", "--json"]
    sampled = [json.loads(run(*free, "--seed", seed).stdout)["refused"] for seed in "1122"]
    assert sampled[:1] * 2 + sampled[2:3] * 2 == sampled


@pytest.mark.slow
def test_free_text_that_means_no_item_is_exit_3(recommend_command: list[str]) -> None:
    """One item may be recommended, and the tiny model, which knows no titles, writes nothing."""
    free = [*recommend_command, "--decode", "free", "-k", "1", "--candidate", "WALL·E"]
    shown = run(*free)
    assert (shown.exit_code, shown.stdout) == (3, "")
    assert shown.stderr.startswith("error: the model wrote no title; leave --decode out")
    as_json = run(*free, "--json")
    assert (as_json.exit_code, as_json.stderr) == (3, "")
    document = json.loads(as_json.stdout)
    assert (document["schema"], document["items"]) == ("genrec-edge/recommend@1", [])
    assert document["refused"] == 0


@pytest.mark.model
def test_recommend_shows_what_it_understood_and_why(films_options: tuple[str, ...]) -> None:
    document = run_json("recommend", *films_options, *HISTORY, *IN_WORDS, "-k", "2", "--score", "catalog", "--explain")
    where = "genres = 'Comedy' AND year BETWEEN 1990 AND 1999"
    assert (document["where"], document["loosened"], document["left_out"]) == (where, [], [])
    facts = [{"column": "genres", "value": "Comedy"}, {"column": "decade", "value": "1990s"}]
    assert document["reading"] == {"text": "comedy, 1990s", "facts": facts, "where": where, "rest": ""}
    assert all("Comedy" in item["columns"]["genres"] and 1990 <= item["year"] < 2000 for item in document["items"])
    shown = run_text("recommend", *films_options, *HISTORY, *IN_WORDS, "-k", "2", "--score", "catalog", "--explain")
    assert f"wanted: {where}" in shown.stderr
    reasons = [reason for item in document["items"] for reason in item.get("reasons", ())]
    assert reasons
    assert f"because of {reasons[0]['title']} ({reasons[0]['year']}) +{reasons[0]['nats']:.2f}" in shown.stdout
    free = run_json(
        "recommend", *films_options, *HISTORY, *IN_WORDS, "-k", "2", "--score", "catalog", "--no-intent-where"
    )
    assert free["where"] is None


@pytest.mark.model
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recommend", "--context", "tonight"), "the context 'tonight' is not NAME=WORDS"),
        (("recommend", "--preference", " "), "--preference must not be empty"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, films_options: tuple[str, ...]) -> None:
    assert_one_line((*arguments, *films_options), message)
