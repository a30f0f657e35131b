"""Running evaluations: invalid options, and killed evaluations that are resumed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.errors import UsageError
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.hub.store import ModelStore, resolve_model
from tests.support.evaluation import FIRST, HISTORIES, N_ITEMS, SPLIT, Scripted, make_split, timeless

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.evaluation.report import EvaluationReport


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    def fresh() -> Scripted:
        return Scripted("same", FIRST._answers)

    whole = timeless(evaluate(SPLIT, [fresh()]))
    for n in range(4):
        folder = tmp_path / str(n)
        killed, again = fresh(), fresh()
        updates: list[tuple[str, int, int]] = []
        killed.dies_after = n
        with pytest.raises(KeyboardInterrupt):
            evaluate(SPLIT, [killed], resume=folder)
        (path,) = folder.glob("*.jsonl")
        with path.open("ab") as file:
            file.write(b'{"user": 3, "rank": nu')  # a line that the kill cut short
        report = evaluate(SPLIT, [again], resume=folder, on_user=lambda *news, updates=updates: updates.append(news))
        assert again.asked == list(HISTORIES)[n:]
        assert updates == [("same", done, 4) for done in range(n, 5)]
        assert timeless(report) == whole
        idle = fresh()
        assert json.dumps(evaluate(SPLIT, [idle], resume=folder).to_json()) == json.dumps(report.to_json())
        assert idle.asked == []


def test_a_sample_of_users_can_grow(tmp_path: Path) -> None:
    few, more = Scripted("same", FIRST._answers), Scripted("same", FIRST._answers)
    evaluate(SPLIT, [few], users=2, resume=tmp_path)
    evaluate(SPLIT, [more], resume=tmp_path)
    assert sorted([*few.asked, *more.asked]) == sorted(HISTORIES)


def test_systems_have_files_of_their_own_and_quick_ones_none(tmp_path: Path) -> None:
    names = ["a/b", "a b", "..", "x" * 300]
    systems = [Scripted(name, FIRST._answers) for name in names]
    evaluate(SPLIT, [*systems, ScoreRanker("quick", lambda: lambda _: np.zeros(N_ITEMS))], resume=tmp_path)
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == len(names)
    assert all(path.resolve().parent == tmp_path.resolve() for path in files)


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file.* cannot be used"):
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 9}, "`k` must be at least 10, got 9"),
        ({"k": 2, "candidates": 5}, "`k` must be at least 3, got 2"),
        ({"users": 0}, "`users` must be at least 1, got 0"),
        ({"candidates": 0}, "`candidates` must be from 1 to .* got 0"),
        ({"candidates": 39}, "`candidates` must be from 1 to .* the items outside of a user's events, got 39"),
        ({"target": "train"}, "unknown `target` 'train'"),
        ({"reference": "third"}, "`reference` 'third' is not the name of a system"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(SPLIT, [FIRST], **options)


def test_systems_must_differ_and_something_must_be_asked() -> None:
    with pytest.raises(UsageError, match="the names of the systems must differ: first, first"):
        evaluate(SPLIT, [FIRST, FIRST])
    with pytest.raises(UsageError, match="there are no systems to evaluate") as nothing:
        evaluate(SPLIT, [])
    assert nothing.value.hint == "give at least one of `systems`"
    nobody = make_split([[0, 1]], [-1], [3])
    with pytest.raises(UsageError, match="the split has no validation items"):
        evaluate(nobody, [FIRST], target="validation")


def test_a_real_model_killed_and_resumed(
    small_data: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrec_edge.datasets.folder import load
    from genrec_edge.datasets.splits import leave_one_out

    monkeypatch.setenv("GENREC_EDGE_CACHE", str(tmp_path / "cache"))
    data = load(small_data)
    split = leave_one_out(data, "file")
    model_file = resolve_model(tiny_llama, ModelStore())

    def run(folder: Path, **options: Any) -> EvaluationReport:
        return evaluate(split, [LlmRanker(model_file, data, n_threads=1)], resume=folder, **options)

    def stop(_name: str, done: int, _total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", on_user=stop)
    resumed = run(tmp_path / "killed").to_json()
    document = whole.to_json()
    for system in (document["systems"][0], resumed["systems"][0]):
        # After a kill the prompt's cache is cold, so even the count of tokens differs.
        del system["cost"]
    assert json.dumps(resumed) == json.dumps(document)
    ranks = whole.systems[0].ranks
    assert whole.systems[0].exact == 1
    assert np.isfinite(ranks).all()  # twelve films, and the model is asked for twenty
