"""How systems are asked and what is said of their answers: figures by hand, and a killed evaluation that goes on."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from filelock import FileLock

from genrec_edge.datasets.splits import Split
from genrec_edge.errors import LockedError, UsageError
from genrec_edge.evaluation.external_scores import read_scores, save_scores
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.protocol import cases_of, history_of
from genrec_edge.evaluation.ranker import Ranking, ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.hub.store import ModelStore, resolve_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.evaluation.conditioning import Conditioning
    from genrec_edge.evaluation.protocol import Target
    from genrec_edge.evaluation.report import EvaluationReport

N_ITEMS = 40
TIMES = {"latency_p50_s", "latency_p95_s", "users_per_s", "peak_memory_mib"}


def indexes(items: Sequence[int]) -> NDArray[np.int32]:
    return np.array(items, np.int32)


def split_of(train: Sequence[Sequence[int]], validation: Sequence[int], test: Sequence[int], **about: object) -> Split:
    """Return a split of items 0..39."""
    return Split(
        N_ITEMS,
        np.flatnonzero(np.array(test) >= 0).astype(np.int32),
        tuple(indexes(items) for items in train),
        indexes(validation),
        indexes(test),
        "file",
        "leave-one-out",
        about={"dataset": "made", "sha256": "0", "filters": [], **about},
    )


SPLIT = split_of([[0, 1], [1, 2, 3], [1], [0, 1, 2, 3], [5]], [4, 5, -1, 6, -1], [7, 0, 2, 8, -1])
"""Four users are asked for 7, 0, 2 and 8: in training met by none, two, two and none."""


class Scripted:
    """A system whose answers are written down, by history; what it was asked is noted."""

    def __init__(
        self, name: str, answers: Mapping[tuple[int, ...], Sequence[int]], *, is_baseline: bool = False
    ) -> None:
        self.name, self.is_baseline = name, is_baseline
        self.about: Mapping[str, Any] = {"kind": "scripted"}
        self.asked: list[tuple[int, ...]] = []
        self.dies_after: int | None = None
        self.conditioning: Sequence[Conditioning] | None = None
        self._answers = answers

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        conditioning: Sequence[Conditioning] | None = None,
    ) -> Iterator[Ranking]:
        self.conditioning = conditioning
        for n, history in enumerate(histories):
            if n == self.dies_after:
                raise KeyboardInterrupt
            self.asked.append(tuple(history.tolist()))
            items = indexes(self._answers[self.asked[-1]][:k])
            scores, n_tokens = -np.arange(len(items), dtype=float), 100 + len(history)
            yield Ranking(items, scores, exact=len(history) % 2 == 0, gap=0.0, tokens=n_tokens, seconds=0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


HISTORIES = ((0, 1, 4), (1, 2, 3, 5), (1,), (0, 1, 2, 3, 6))
FIRST = Scripted(
    "first",
    dict(zip(HISTORIES, ([7, 9], [9, 0], list(range(20, 35)), [9, 10, 11, 12, 13, 8]), strict=True)),
    is_baseline=True,
)
"""The targets stand at 1, at 2, nowhere and at 6."""
SECOND = Scripted("second", {key: [30, 30] for key in HISTORIES})


def timeless(report: EvaluationReport) -> str:
    """Return all that a report says, but for times and memory."""
    document = report.to_json()
    for system in document["systems"]:
        assert system["cost"].keys() > TIMES
        system["cost"] = {name: value for name, value in system["cost"].items() if name not in TIMES}
    return json.dumps(document, allow_nan=False)


def test_the_history_is_what_came_before_the_target() -> None:
    asked = cases_of(SPLIT)
    assert asked.users.tolist() == [0, 1, 2, 3]
    assert asked.targets.tolist() == [7, 0, 2, 8]
    assert [tuple(history.tolist()) for history in asked.histories] == list(HISTORIES)
    assert asked.candidates is None
    validation = cases_of(SPLIT, target="validation")
    assert validation.users.tolist() == [0, 1, 3]
    assert validation.targets.tolist() == [4, 5, 6]
    assert [history.tolist() for history in validation.histories] == [[0, 1], [1, 2, 3], [0, 1, 2, 3]]
    assert history_of(SPLIT, 2, "test").tolist() == [1]


def test_figures_by_hand() -> None:
    (system,) = evaluate(SPLIT, [FIRST]).to_json()["systems"]
    means = {name: value["mean"] for name, value in system["metrics"].items()}
    assert means == pytest.approx(
        {
            "hr@1": 1 / 4,
            "hr@3": 2 / 4,
            "hr@5": 2 / 4,
            "hr@10": 3 / 4,
            "hr@20": 3 / 4,
            "ndcg@1": 1 / 4,
            **{f"ndcg@{k}": (1 + 1 / math.log2(3)) / 4 for k in (3, 5)},
            **{f"ndcg@{k}": (1 + 1 / math.log2(3) + 1 / math.log2(7)) / 4 for k in (10, 20)},
            "mrr@1": 1 / 4,
            **{f"mrr@{k}": (1 + 1 / 2) / 4 for k in (3, 5)},
            **{f"mrr@{k}": (1 + 1 / 2 + 1 / 6) / 4 for k in (10, 20)},
        }
    )
    for value in system["metrics"].values():
        assert value["low"] <= value["mean"] <= value["high"]
    segments = {name: (part["users"], part["hr@10"]["mean"]) for name, part in system["segments"].items()}
    assert segments == {
        "history 1-3": (2, 1 / 2),
        "history 4-5": (2, 1.0),
        "history > 50 events": (0, None),
        "target with < 5 events": (4, 3 / 4),
        "target without events": (2, 1.0),
    }
    # 20 of the 40 first places are filled
    shown = [7, 9, 9, 0, *range(20, 30), 9, 10, 11, 12, 13, 8]
    counts = np.bincount(np.concatenate(SPLIT.train), minlength=N_ITEMS)
    ranks = [1 + sum(counts > counts[i]) + (sum(counts == counts[i]) - 1) / 2 for i in shown]
    assert system["answers"] == pytest.approx(
        {
            "exact": 1 / 4,
            "valid": 20 / 40,
            "distinct": 1.0,
            "coverage@10": len(set(shown)) / N_ITEMS,
            "popularity_rank@10": np.mean(ranks),
        }
    )
    cost = system["cost"]
    assert (cost["tokens_per_user"], cost["latency_p50_s"], cost["latency_p95_s"]) == (103.25, 0.5, 0.5)
    assert cost["users_per_s"] > 0
    assert cost["peak_memory_mib"] > 1


def test_every_system_is_tested_against_the_best_baseline_and_the_reference() -> None:
    weak = Scripted("weak", {key: [31] for key in HISTORIES}, is_baseline=True)
    report = evaluate(SPLIT, [weak, FIRST, SECOND], reference="second")
    assert report.best_baseline == "first"
    pairs = {(test.system, test.against) for test in report.tests}
    assert pairs == {("weak", "first"), ("second", "first"), ("weak", "second"), ("first", "second")}
    found = {(test.system, test.against): test.results["hr@10"] for test in report.tests}
    assert found["first", "second"].difference.mean == 3 / 4
    assert found["weak", "second"].p == 1
    # three users differ, all in one direction: of the 8 ways to choose their signs, 2 are as extreme
    assert found["first", "second"].p == pytest.approx(2 / 8, abs=0.02)
    assert evaluate(SPLIT, [SECOND]).best_baseline is None


def test_longer_answers_have_longer_figures() -> None:
    far = Scripted(
        "far", {history: [*range(20, 40), 9, target] for history, target in zip(HISTORIES, (7, 0, 2, 8), strict=False)}
    )
    (system,) = evaluate(SPLIT, [far], k=50).systems
    assert (system.means["hr@20"].mean, system.means["hr@50"].mean, "hr@100" in system.means) == (0, 1, False)
    assert evaluate(SPLIT, [far]).systems[0].ranks.tolist() == [math.inf] * 4


def test_texts_are_counted_where_they_were_written() -> None:
    class Writer(Scripted):
        def rank_many(self, *arguments: Any, **options: Any) -> Iterator[Ranking]:
            for ranked in super().rank_many(*arguments, **options):
                yield replace(ranked, texts=10, invalid=4, repeated=3)

    (system,) = evaluate(SPLIT, [Writer("texts", {key: [30, 31, 32] for key in HISTORIES})]).systems
    assert (system.valid, system.distinct) == (0.6, 0.5)


def test_equal_scores_share_their_places() -> None:
    with_ties = ScoreRanker("ties", lambda: lambda _: np.zeros(N_ITEMS))
    (system,) = evaluate(SPLIT, [with_ties]).systems
    assert system.ranks.tolist() == [(N_ITEMS - len(history) + 1) / 2 for history in HISTORIES]


def test_all_systems_are_asked_the_same_sample_and_a_larger_one_contains_it() -> None:
    train = [[i % 7, 8 + i % 5] for i in range(30)]
    split = split_of(train, [20] * 30, [30] * 30)
    samples = [set(cases_of(split, users=n, seed=3).users.tolist()) for n in (5, 10, 29, 99)]
    assert [len(sample) for sample in samples] == [5, 10, 29, 30]
    assert samples[0] < samples[1] < samples[2] < samples[3]
    assert cases_of(split, users=5, seed=4).users.tolist() != sorted(samples[0])
    answers = {tuple(history.tolist()): [30] for history in cases_of(split).histories}
    one, other = Scripted("one", answers), Scripted("other", answers)
    evaluate(split, [one, other], users=5, seed=3)
    assert one.asked == other.asked
    assert len(one.asked) == 5


@pytest.mark.parametrize("target", ["test", "validation"])
def test_sampled_candidates_are_never_met(target: Target) -> None:
    asked = cases_of(SPLIT, target=target, candidates=9, seed=1)
    assert asked.candidates is not None
    for user, wanted, pool in zip(asked.users.tolist(), asked.targets.tolist(), asked.candidates, strict=True):
        met = {*SPLIT.train[user].tolist(), int(SPLIT.validation[user]), int(SPLIT.test[user])}
        assert set(pool.tolist()) & met == {wanted}
        assert (len(set(pool.tolist())), pool.dtype) == (10, np.dtype(np.int32))
    alone = cases_of(SPLIT, target=target, candidates=9, seed=1, users=1)
    assert alone.candidates is not None
    place = asked.users.tolist().index(int(alone.users[0]))
    assert alone.candidates[0].tolist() == asked.candidates[place].tolist()
    other = cases_of(SPLIT, target=target, candidates=9, seed=2)
    assert other.candidates is not None
    assert [pool.tolist() for pool in other.candidates] != [pool.tolist() for pool in asked.candidates]


def test_candidates_are_all_that_is_ranked() -> None:
    best = ScoreRanker("best first", lambda: lambda _: -np.arange(N_ITEMS, dtype=float))
    report = evaluate(SPLIT, [best], candidates=4, seed=2)
    asked = cases_of(SPLIT, candidates=4, seed=2)
    assert asked.candidates is not None
    expected = [1 + pool.tolist().index(wanted) for pool, wanted in zip(asked.candidates, asked.targets, strict=True)]
    assert report.systems[0].ranks.tolist() == expected
    assert report.systems[0].valid == 1.0
    assert report.protocol["candidates"] == 4
    assert "1 + 4 items ranked, sampled" in report.headline()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"ties": "item"}, ["first was tuned on leave-one-out, ties by item order, of these data"]),
        ({"split": "all"}, ["first was tuned on all, ties by file order, of these data"]),
        ({"ties": "item", "sha256": "1"}, []),
    ],
)
def test_a_model_that_may_have_met_the_targets_is_named(changed: dict[str, str], said: list[str]) -> None:
    asked = Scripted("first", FIRST._answers)
    asked.about = {"tuned_on": {"sha256": "0", "split": "leave-one-out", "ties": "file", **changed}}
    notes = [note for note in evaluate(SPLIT, [asked, SECOND]).notes() if "was tuned on" in note]
    assert [
        note.removesuffix(": its training data may contain the targets of this evaluation") for note in notes
    ] == said


def test_the_report_says_the_split_its_ties_and_the_protocol() -> None:
    document = evaluate(SPLIT, [FIRST], users=3, seed=7).to_json()
    assert document["split"] == json.loads(json.dumps(SPLIT.card()))
    assert document["protocol"] == {
        "target": "test",
        "candidates": None,
        "k": 20,
        "users": 3,
        "seed": 7,
        "seen": "removed",
        "equal scores": "mean rank",
    }
    text = evaluate(SPLIT, [FIRST, SECOND]).markdown()
    assert "made, leave-one-out, ties by file order: the test items of 4 users, all 40 items ranked" in text
    assert "| first | **.7500 ±" in text
    assert "second against first: HR@10 -0.7500" in text


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


@contextmanager
def refused(tmp_path: Path, message: str) -> Iterator[Path]:
    """Make a file of answers for the block to change, and expect that it is refused and left alone."""
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    yield path
    before = path.read_bytes()
    with pytest.raises(UsageError, match=message) as raised:
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    assert str(path) in raised.value.message
    assert "\n" not in raised.value.message
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"target": "validation"}, "protocol.target differ"),
        ({"candidates": 3}, "protocol.candidates, protocol.seed differ"),
    ],
)
def test_answers_of_another_protocol_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    with pytest.raises(UsageError, match=named):
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path, **change)


def test_answers_of_another_split_or_system_are_refused(tmp_path: Path) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    with pytest.raises(UsageError, match=r"split\.sha256, split\.ties differ"):
        evaluate(
            replace(SPLIT, ties="item", about={**SPLIT.about, "sha256": "1"}),
            [Scripted("same", FIRST._answers)],
            resume=tmp_path,
        )
    other = Scripted("same", FIRST._answers)
    other.about = {"kind": "scripted", "adapter": "x"}
    with pytest.raises(UsageError, match=r"system\.adapter differ"):
        evaluate(SPLIT, [other], resume=tmp_path)


LINE = {
    "user": 0,
    "rank": 1.0,
    "items": [1],
    "exact": True,
    "tokens": 1,
    "texts": 0,
    "invalid": 0,
    "repeated": 0,
    "seconds": 0.1,
    "wall_s": 0.1,
    "peak_mib": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0.5},
        {"rank": "1"},
        {"user": -1},
        {"user": True},
        {"items": [1.5]},
        {"items": 3},
        {"exact": 1},
        {"tokens": 1 << 40},
        {"seconds": -1},
        {"more": 1},
    ],
)
def test_a_line_that_is_no_answer_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with refused(tmp_path, "line 6 of .* is not what an evaluation writes") as path, path.open("a") as file:
        file.write(json.dumps({**LINE, **change}) + "\n")


@pytest.mark.parametrize("content", [b"hello\n", b"hello", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n", b"x" * (1 << 21)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    with refused(tmp_path, "line 1 of .* is not what an evaluation writes") as path:
        path.write_bytes(content)


def test_the_line_of_these_tests_is_an_answer(tmp_path: Path) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("a") as file:
        file.write(json.dumps(LINE) + "\n")
    again = Scripted("same", FIRST._answers)
    evaluate(SPLIT, [again], resume=tmp_path)
    assert again.asked == []


def test_two_evaluations_do_not_write_into_one_file(tmp_path: Path) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    with (
        FileLock(path.with_name(f".{path.name}.lock")),
        pytest.raises(LockedError, match="is being written by another process"),
    ):
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)


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
    with pytest.raises(UsageError, match="there are no systems to evaluate"):
        evaluate(SPLIT, [])
    nobody = split_of([[0, 1]], [-1], [3])
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


def test_scores_of_another_program(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.random((5, N_ITEMS)).astype(np.float32)
    matrix[4] = np.nan  # the fifth user is not asked
    path = tmp_path / "scores.npz"
    save_scores(path, matrix, SPLIT)
    scores_of = read_scores(path, SPLIT, "test")
    (system,) = evaluate(SPLIT, [ScoreRanker("neural", lambda: scores_of)]).systems
    for user, rank in enumerate(system.ranks):
        open_items = [i for i in range(N_ITEMS) if i not in HISTORIES[user]]
        order = sorted(open_items, key=lambda i: -matrix[user, i])
        assert rank == 1 + order.index(SPLIT.test[user])


def test_scores_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    good = np.zeros((5, N_ITEMS), np.float32)

    def refused_with(message: str) -> None:
        with pytest.raises(UsageError, match=message) as raised:
            read_scores(path, SPLIT, "test")
        assert "\n" not in raised.value.message

    refused_with("scores.npz cannot be used")
    save_scores(path, good, SPLIT, "validation")
    refused_with("made for another evaluation: target differ")
    save_scores(path, good, replace(SPLIT, ties="item"))
    refused_with(r"split\.ties differ")
    save_scores(path, good[:4], SPLIT)
    refused_with("has scores of shape")
    good[2, 3] = np.nan
    save_scores(path, good, SPLIT)
    refused_with("1 of 4 users have scores that are not numbers")
    np.savez(path, scores=np.zeros((5, N_ITEMS)), card=np.array("{}"))
    refused_with("scores has the shape")
    np.savez(path, scores=np.array([None]), card=np.array("{}"), allow_pickle=True)
    refused_with("is not a file of scores")
    np.savez(path, other=good)
    refused_with("is not a file of scores")
    path.write_bytes(b"no zip")
    refused_with("is not a file of scores")
    save_scores(path, good, SPLIT)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut] + b"\xff" + whole[cut + 1 :])
        with pytest.raises(UsageError):
            read_scores(path, SPLIT, "test")
