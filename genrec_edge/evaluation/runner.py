"""How systems are asked: all of them the same questions, an answer at a time, resumably.

Knows systems and answers; what is asked is known to `cases_of.py`, and what comes out is said by `figures.py` and
`report.py`.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from genrec_edge.errors import UsageError
from genrec_edge.evaluation.answer_log import LoggedAnswer, open_answer_log
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.report import EvaluationReport, report_of
from genrec_edge.evaluation.system_metrics import (
    AT,
    FULL,
    LEAST,
    SAMPLED,
    EvaluatedUsers,
    SystemMetrics,
    depth_of,
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

    from genrec_edge.datasets.splits import Split
    from genrec_edge.evaluation.conditioning import Conditioner, Conditioning
    from genrec_edge.evaluation.protocol import EvaluationCases, ScoresOf, Target
    from genrec_edge.evaluation.ranker import Ranking


class RankingSystem(Protocol):
    """What can be evaluated: see `ranked.py` and `ranking.py`. It is entered to be asked, and left before the next one.

    Attributes:
        name: different from that of every other system.
        is_baseline: whether it is one of those to be beaten.
    """

    name: str
    is_baseline: bool

    @property
    def about(self) -> Mapping[str, Any]:
        """All that its answers depend on, ready for JSON; empty if asking again costs less than keeping answers."""
        ...

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        told: Sequence[Conditioning] | None = None,
    ) -> Iterator[Ranking]:
        """Yield one answer of at most k items for each history, in order; `told` says what of it is told, and in words.

        Without it the whole history is.
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
    hard: tuple[str, ScoresOf] | None = None,
    conditioner: Conditioner | None = None,
    seed: int = 0,
    reference: str | None = None,
    resume_path: Path | None = None,
    on_user: Callable[[str, int, int], object] = lambda _name, _done, _total: None,
) -> EvaluationReport:
    """Ask all systems and return what came out.

    Args:
        split: what is asked; baselines are fitted on its training part.
        systems: at least one; their names differ.
        k: how many items each system is asked for, at least 10, among candidates 3.
        users: as `target`, `candidates` and `seed`: see `cases_of`. The seed is also that of intervals and tests.
        target: which of the held-out items.
        candidates: None ranks all items.
        hard: a baseline's name and scores: its best items are the candidates beside the target.
        conditioner: says what systems are told; None tells the history alone.
        seed: of all that is drawn.
        reference: the name of a system that all others are tested against, as against the best baseline.
        resume_path: a folder that keeps the answers of each system that is slow, in a file; what it holds is not asked
            again, and a sample of users can grow.
        on_user: told the system, how many of its users are done and how many there are.

    Raises:
        UsageError: a number out of range, names that are not clear, or a file of another evaluation in `resume_path`.
    """
    names = [system.name for system in systems]
    if not systems or len(set(names)) < len(names):
        raise UsageError(f"the systems {', '.join(names)} cannot be told apart" if names else "no system to evaluate")
    if reference is not None and reference not in names:
        raise UsageError(f"no system is called {reference!r}", hint=f"there are: {', '.join(names)}")
    least = AT if candidates is None else LEAST
    if k < least:
        raise UsageError(f"{k} items are too few to ask for", hint=f"give -k at least {least}")
    asked = cases_of(
        split,
        target=target,
        users=users,
        candidates=candidates,
        hard=None if hard is None else hard[1],
        conditioner=conditioner,
        seed=seed,
    )
    protocol: dict[str, Any] = {"target": target, "candidates": candidates, "k": k}
    protocol["seed"] = None if candidates is None and conditioner is None else seed
    protocol |= {} if hard is None else {"negatives": f"the best of {hard[0]}"}
    protocol |= {} if conditioner is None else conditioner.describe()
    facts = _facts(split, asked, k, candidates)
    figures: list[SystemMetrics] = []
    for system in systems:
        process_memory.forget_peak()
        with system:
            key = {"split": split.card(), "protocol": protocol, "system": {"name": system.name, **system.about}}
            answers = _ask(system, asked, k, key, resume_path if system.about else None, on_user)
            figures.append(
                system_metrics_of(system.name, system.about, answers, facts, is_baseline=system.is_baseline, seed=seed)
            )
    said = {**protocol, "users": len(asked.users), "seed": seed, "seen": "removed", "equal scores": "mean rank"}
    return report_of(split.card(), said, figures, reference=reference, seed=seed, tested=facts.tested)


def _facts(split: Split, asked: EvaluationCases, k: int, candidates: int | None) -> EvaluatedUsers:
    lengths = np.array([len(history) for history in asked.histories])
    counts = event_counts(split.train, split.n_items)
    depth = AT if candidates is None else min(AT, k, candidates + 1)
    tested = FULL if candidates is None else tuple(metric for metric in SAMPLED if depth_of(metric) <= k)
    return EvaluatedUsers(asked.users, asked.targets, lengths, counts, k, depth, tested)


def _ask(
    system: RankingSystem,
    asked: EvaluationCases,
    k: int,
    key: Mapping[str, Any],
    folder: Path | None,
    on_user: Callable[[str, int, int], object],
) -> list[LoggedAnswer]:
    """Return the system's answers in the order of the users, asking for those that its file does not hold."""
    kept: AbstractContextManager[tuple[dict[int, LoggedAnswer], Callable[[LoggedAnswer], None]]]
    kept = (
        nullcontext(({}, lambda _: None)) if folder is None else open_answer_log(folder / _file_name(system.name), key)
    )
    with kept as (answers, add):
        missing = [place for place, user in enumerate(asked.users.tolist()) if user not in answers]
        n = len(asked.users)
        on_user(system.name, n - len(missing), n)
        histories = [asked.histories[place] for place in missing]
        candidates = None if asked.candidates is None else [asked.candidates[place] for place in missing]
        told = None if asked.told is None else [asked.told[place] for place in missing]
        before = time.perf_counter()
        ranked_lists = system.rank_many(histories, k, candidates=candidates, told=told) if missing else ()
        for done, (place, ranked) in enumerate(zip(missing, ranked_lists, strict=True), start=1):
            now = time.perf_counter()
            answer = _answer(int(asked.users[place]), int(asked.targets[place]), ranked, now - before)
            before = now
            answers[answer.user] = answer
            add(answer)
            on_user(system.name, n - len(missing) + done, n)
        return [answers[user] for user in asked.users.tolist()]


def _answer(user: int, target: int, ranked: Ranking, wall_s: float) -> LoggedAnswer:
    return LoggedAnswer(
        user=user,
        rank=ranked.rank_of(target),
        items=tuple(ranked.items.tolist()),
        exact=ranked.exact,
        tokens=ranked.tokens,
        texts=ranked.texts,
        invalid=ranked.invalid,
        repeated=ranked.repeated,
        seconds=ranked.seconds,
        wall_s=wall_s,
        peak_mib=process_memory.peak_mib(),
    )


def _file_name(name: str) -> str:
    """Return a file name that is one system's alone."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].lstrip(".-")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.jsonl"
