"""Runs an evaluation: every system ranks the same cases, user by user, and can be resumed after a kill.

Knows systems and answers. The cases are made by `protocol.py`, the metrics by `system_metrics.py` and `report.py`.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from genrec_edge.datasets.negatives import WeekPopularity
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.answer_log import LoggedAnswer, open_answer_log
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.report import EvaluationReport, report_of
from genrec_edge.evaluation.system_metrics import (
    CUTOFF,
    FULL_RANKING_METRICS,
    MIN_SAMPLED_K,
    SAMPLED_METRICS,
    EvaluatedUsers,
    SystemMetrics,
    cutoff_of,
    system_metrics_of,
)
from genrec_edge.prior.cooccurrence import event_counts
from genrec_edge.storage import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.datasets.split import Split
    from genrec_edge.evaluation.conditioning import Conditioner, Conditioning
    from genrec_edge.evaluation.protocol import EvaluationCases, ScoresOf
    from genrec_edge.evaluation.ranker import Ranking
    from genrec_edge.evaluation.target_age import OldTargets
    from genrec_edge.records import Target


class RankingSystem(Protocol):
    """What can be evaluated, such as a `ScoreRanker` or an `LlmRanker`: a context manager, entered one at a time.

    Attributes:
        name: different from that of every other system.
        is_baseline: whether models are compared with it.
    """

    name: str
    is_baseline: bool

    @property
    def about(self) -> Mapping[str, Any]:
        """Everything its answers depend on, ready for JSON; empty for systems too fast to need an answer log."""
        ...

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        conditioning: Sequence[Conditioning] | None = None,
        times: Sequence[float] | None = None,
    ) -> Iterator[Ranking]:
        """Yield a ranking of at most k items for each history, in order.

        Args:
            histories: item indexes, oldest first.
            k: the most items of a ranking.
            candidates: item indexes to rank for each history; None for all.
            conditioning: what the prompt contains for each history; None for the whole history.
            times: when each is asked, in seconds; None where it is not known.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def evaluate(
    split: Split,
    systems: Sequence[RankingSystem],
    *,
    k: int = 20,
    users: int | None = None,
    target: Target = "test",
    candidates: int | None = None,
    negatives: tuple[str, ScoresOf] | WeekPopularity | None = None,
    old: OldTargets | None = None,
    conditioner: Conditioner | None = None,
    seed: int = 0,
    reference: str | None = None,
    resume: Path | None = None,
    on_user: Callable[[str, int, int], object] = lambda _name, _done, _total: None,
) -> EvaluationReport:
    """Evaluate systems on the same users and return the report.

    Args:
        split: the held-out items and the histories before them.
        systems: at least one; their names differ.
        k: items of a ranking, at least 10; with `candidates` at least 3.
        users: see `cases_of`, as `target` and `candidates`.
        target: which of the held-out items.
        candidates: None ranks all items.
        negatives: name and scores of a baseline whose best items are the candidates beside the target, or what draws
            them by the popularity of the week; None draws them at random.
        old: whose targets count; None for all.
        conditioner: decides what prompts contain; None for the history alone.
        seed: of the cases, the intervals and the tests.
        reference: the name of a system that all others are tested against, in addition to the best baseline.
        resume: a folder for the answers of each system that is slow, one file each. Users in it are not ranked again,
            and a sample of users can grow.
        on_user: called with the system, how many of its users are done, and how many there are.

    Raises:
        UsageError: a number out of range, names that are not unique, or a file of another evaluation in `resume`.
    """
    names = [system.name for system in systems]
    if not systems:
        raise UsageError("there are no systems to evaluate", hint="give at least one of `systems`")
    if len(set(names)) < len(names):
        raise UsageError(f"the names of the systems must differ: {', '.join(names)}")
    if reference is not None and reference not in names:
        raise UsageError(f"`reference` {reference!r} is not the name of a system", hint=f"known: {', '.join(names)}")
    least = CUTOFF if candidates is None else MIN_SAMPLED_K
    if k < least:
        raise UsageError(f"`k` must be at least {least}, got {k}")
    cases = cases_of(
        split,
        target=target,
        users=users,
        candidates=candidates,
        negative_scores=negatives[1] if isinstance(negatives, tuple) else None,
        week_popularity=negatives if isinstance(negatives, WeekPopularity) else None,
        counts=None if old is None else old.users,
        conditioner=conditioner,
        seed=seed,
    )
    protocol = _protocol_of(target, candidates, k, seed, negatives, old, conditioner)
    evaluated = _evaluated_users(split, cases, k, candidates)
    all_metrics: list[SystemMetrics] = []
    for system in systems:
        process_memory.reset_peak()
        with system:
            key = {"split": split.card(), "protocol": protocol, "system": {"name": system.name, **system.about}}
            answers = _answers(system, cases, k, key, resume if system.about else None, on_user)
            metrics = system_metrics_of(
                system.name, system.about, answers, evaluated, is_baseline=system.is_baseline, seed=seed
            )
        all_metrics.append(metrics)
    described = {**protocol, "users": len(cases.users), "seed": seed, "seen": "removed", "equal scores": "mean rank"}
    if isinstance(negatives, WeekPopularity):
        described["widened_weeks"] = negatives.n_widened
    return report_of(
        split.card(),
        described,
        all_metrics,
        reference=reference,
        seed=seed,
        segment_metrics=evaluated.segment_metrics,
    )


def _protocol_of(
    target: Target,
    candidates: int | None,
    k: int,
    seed: int,
    negatives: tuple[str, ScoresOf] | WeekPopularity | None,
    old: OldTargets | None,
    conditioner: Conditioner | None,
) -> dict[str, Any]:
    """Return what all answers depend on besides the split and the system."""
    protocol: dict[str, Any] = {"target": target, "candidates": candidates, "k": k}
    protocol["seed"] = None if candidates is None and conditioner is None else seed
    if isinstance(negatives, tuple):
        protocol["negatives"] = f"the best of {negatives[0]}"
    elif negatives is not None:
        protocol["negatives"] = "by the popularity of their week"
    if old is not None:
        protocol["min_age"] = old.min_age
    if conditioner is not None:
        protocol |= conditioner.describe()
    return protocol


def _evaluated_users(split: Split, cases: EvaluationCases, k: int, candidates: int | None) -> EvaluatedUsers:
    depth = CUTOFF
    segment_metrics: tuple[str, ...] = FULL_RANKING_METRICS
    if candidates is not None:
        depth = min(CUTOFF, k, candidates + 1)
        segment_metrics = tuple(metric for metric in SAMPLED_METRICS if cutoff_of(metric) <= k)
    return EvaluatedUsers(
        users=cases.users,
        targets=cases.targets,
        history_lengths=np.array([len(history) for history in cases.histories]),
        event_counts=event_counts(split.train, split.n_items),
        k=k,
        depth=depth,
        segment_metrics=segment_metrics,
    )


def _answers(
    system: RankingSystem,
    cases: EvaluationCases,
    k: int,
    key: Mapping[str, Any],
    folder: Path | None,
    on_user: Callable[[str, int, int], object],
) -> list[LoggedAnswer]:
    """Return the system's answers in the order of the users; only those missing in its log are computed."""
    log: AbstractContextManager[tuple[dict[int, LoggedAnswer], Callable[[LoggedAnswer], None]]]
    if folder is None:
        log = nullcontext(({}, lambda _: None))
    else:
        log = open_answer_log(folder / _file_name(system.name), key)
    with log as (answers, add):
        missing = [place for place, user in enumerate(cases.users.tolist()) if user not in answers]
        n = len(cases.users)
        on_user(system.name, n - len(missing), n)
        previous = time.perf_counter()
        rankings = _rank(system, cases, missing, k) if missing else ()
        for done, (place, ranking) in enumerate(zip(missing, rankings, strict=True), start=1):
            now = time.perf_counter()
            answer = _answer(int(cases.users[place]), int(cases.targets[place]), ranking, now - previous)
            previous = now
            answers[answer.user] = answer
            add(answer)
            on_user(system.name, n - len(missing) + done, n)
        return [answers[user] for user in cases.users.tolist()]


def _rank(system: RankingSystem, cases: EvaluationCases, places: Sequence[int], k: int) -> Iterator[Ranking]:
    """Yield the rankings of the cases at some places."""
    return system.rank_many(
        [cases.histories[place] for place in places],
        k,
        candidates=None if cases.candidates is None else [cases.candidates[place] for place in places],
        conditioning=None if cases.conditioning is None else [cases.conditioning[place] for place in places],
        times=None if cases.times is None else [float(cases.times[place]) for place in places],
    )


def _answer(user: int, target: int, ranking: Ranking, wall_s: float) -> LoggedAnswer:
    return LoggedAnswer(
        user=user,
        rank=ranking.rank_of(target),
        items=tuple(ranking.items.tolist()),
        exact=ranking.exact,
        tokens=ranking.tokens,
        texts=ranking.texts,
        invalid=ranking.invalid,
        repeated=ranking.repeated,
        seconds=ranking.seconds,
        wall_s=wall_s,
        peak_mib=process_memory.peak_mib(),
    )


def _file_name(name: str) -> str:
    """Return a readable file name that no other system has."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].lstrip(".-")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.jsonl"
