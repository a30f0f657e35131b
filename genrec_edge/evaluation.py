"""How systems are asked: every user's held-out item, all systems the same users, an answer at a time, resumably.

The user's history is what came before the target: for the test item, the training events and the validation item. The
items of the history are never an answer; everything else is one, or a sample of it with the target inside. Knows
splits, systems and answers; what comes out of them is said by `figures.py` and `report.py`.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, get_args

import numpy as np

from genrec_edge import memory
from genrec_edge.answers import Answer, answer_file
from genrec_edge.errors import UsageError
from genrec_edge.figures import AT, FULL, SAMPLED, Asked, Figures, figures_of
from genrec_edge.report import Report, report_of
from genrec_edge.transitions import event_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.interactions import Split
    from genrec_edge.ranked import Ranked
    from genrec_edge.telling import Teller, Told

    ScoresOf = Callable[[NDArray[np.int32]], NDArray[np.floating]]

Target = Literal["test", "validation"]


class System(Protocol):
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
        told: Sequence[Told] | None = None,
    ) -> Iterator[Ranked]:
        """Yield one answer of at most k items for each history, in order; `told` says what of it is told, and in words.

        Without it the whole history is.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """What all systems are asked; sequences stand in the order of `users`, ascending.

    Attributes:
        users: (n,) int32, indexes of users of the data set.
        targets: (n,) int32, item indexes.
        histories: item indexes of each user, oldest first.
        candidates: item indexes to rank for each user, ascending, the target among them; None for all.
        told: what systems are told for each user; None for the history alone.
    """

    users: NDArray[np.int32]
    targets: NDArray[np.int32]
    histories: tuple[NDArray[np.int32], ...]
    candidates: tuple[NDArray[np.int32], ...] | None
    told: tuple[Told, ...] | None = None


def questions(
    split: Split,
    *,
    target: Target = "test",
    users: int | None = None,
    candidates: int | None = None,
    hard: ScoresOf | None = None,
    teller: Teller | None = None,
    seed: int = 0,
) -> Questions:
    """Return what a split asks.

    Args:
        split: what is known and what is held out.
        target: which of the held-out items.
        users: a sample of so many users; the same seed draws the same ones, and a larger sample contains a smaller.
        candidates: rank the target among so many others, drawn for each user by the seed from the items that the user
            never meets, in history or future; None ranks all items.
        hard: from a history to the score of each item, (n_items,): the others are those with the highest scores.
        teller: says what systems are told for each user; None tells the history alone.
        seed: of both draws.

    Raises:
        UsageError: a number out of range, or no user to ask.
    """
    held_out = {"test": split.test, "validation": split.validation}
    if target not in get_args(Target):
        raise UsageError(f"unknown target {target!r}", hint=f"known: {', '.join(get_args(Target))}")
    asked = np.flatnonzero(held_out[target] >= 0)
    if not len(asked):
        raise UsageError(f"the split has no {target} items", hint="take another target or split")
    if users is not None:
        if users < 1:
            raise UsageError(f"{users} users cannot be asked", hint="give --users at least 1")
        asked = np.sort(np.random.default_rng(seed).permutation(asked)[:users])
    if hard is not None and candidates is None:
        raise UsageError("hard negatives need a number of candidates", hint="give --candidates")
    targets = held_out[target][asked]
    known = tuple(history_of(split, user, target) for user in asked.tolist())
    return Questions(
        users=asked.astype(np.int32),
        targets=targets,
        histories=known,
        candidates=None
        if candidates is None
        else tuple(
            _sampled(split, user, candidates, target, seed, None if hard is None else hard(history))
            for user, history in zip(asked.tolist(), known, strict=True)
        ),
        told=None if teller is None else tuple(map(teller.told, asked.tolist(), known, targets.tolist())),
    )


def history_of(split: Split, user: int, target: Target) -> NDArray[np.int32]:
    """Return the items a user had met before the target, oldest first."""
    train, validation = split.train[user], split.validation[user]
    return np.append(train, validation) if target == "test" and validation >= 0 else train


def _sampled(
    split: Split, user: int, n: int, target: Target, seed: int, scores: NDArray[np.floating] | None
) -> NDArray[np.int32]:
    """Return the user's target and `n` items that the user never meets, those with the highest scores, ascending."""
    own = [split.validation[user], split.test[user]]
    is_free = np.ones(split.n_items + 1, np.bool_)  # the last place answers for -1, no item
    is_free[[*split.train[user], *own, -1]] = False
    free = np.flatnonzero(is_free)
    if not 1 <= n <= len(free):
        message = f"{n:,} candidates cannot be drawn beside the target: a user leaves {len(free):,} items"
        raise UsageError(message, hint="give --candidates at least 1 and fewer than that")
    if scores is None:
        drawn = np.random.default_rng([seed, user]).choice(free, n, replace=False)
    else:
        drawn = free[np.argsort(-scores[free], kind="stable")[:n]]
    return np.sort(np.append(drawn, own[target == "test"])).astype(np.int32)


def evaluate(
    split: Split,
    systems: Sequence[System],
    *,
    k: int = 20,
    users: int | None = None,
    target: Target = "test",
    candidates: int | None = None,
    hard: tuple[str, ScoresOf] | None = None,
    teller: Teller | None = None,
    seed: int = 0,
    reference: str | None = None,
    resume_path: Path | None = None,
    on_user: Callable[[str, int, int], object] = lambda _name, _done, _total: None,
) -> Report:
    """Ask all systems and return what came out.

    Args:
        split: what is asked; baselines are fitted on its training part.
        systems: at least one; their names differ.
        k: how many items each system is asked for, at least 10.
        users: as `target`, `candidates` and `seed`: see `questions`. The seed is also that of intervals and tests.
        target: which of the held-out items.
        candidates: None ranks all items.
        hard: a baseline's name and scores: its best items are the candidates beside the target.
        teller: says what systems are told; None tells the history alone.
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
    if k < AT:
        raise UsageError(f"{k} items are too few to ask for", hint=f"give -k at least {AT}")
    asked = questions(
        split,
        target=target,
        users=users,
        candidates=candidates,
        hard=None if hard is None else hard[1],
        teller=teller,
        seed=seed,
    )
    protocol: dict[str, Any] = {"target": target, "candidates": candidates, "k": k}
    protocol["seed"] = None if candidates is None and teller is None else seed
    protocol |= {} if hard is None else {"negatives": f"the best of {hard[0]}"}
    protocol |= {} if teller is None else teller.describe()
    facts = _facts(split, asked, k, candidates)
    figures: list[Figures] = []
    for system in systems:
        memory.forget_peak()
        with system:
            key = {"split": split.card(), "protocol": protocol, "system": {"name": system.name, **system.about}}
            answers = _ask(system, asked, k, key, resume_path if system.about else None, on_user)
            figures.append(
                figures_of(system.name, system.about, answers, facts, is_baseline=system.is_baseline, seed=seed)
            )
    said = {**protocol, "users": len(asked.users), "seed": seed, "seen": "removed", "equal scores": "mean rank"}
    return report_of(split.card(), said, figures, reference=reference, seed=seed, tested=facts.tested)


def _facts(split: Split, asked: Questions, k: int, candidates: int | None) -> Asked:
    lengths = np.array([len(history) for history in asked.histories])
    counts = event_counts(split.train, split.n_items)
    depth = AT if candidates is None else min(AT, candidates + 1)
    tested = FULL if candidates is None else SAMPLED
    return Asked(asked.users, asked.targets, lengths, counts, k, depth, tested)


def _ask(
    system: System,
    asked: Questions,
    k: int,
    key: Mapping[str, Any],
    folder: Path | None,
    on_user: Callable[[str, int, int], object],
) -> list[Answer]:
    """Return the system's answers in the order of the users, asking for those that its file does not hold."""
    kept: AbstractContextManager[tuple[dict[int, Answer], Callable[[Answer], None]]]
    kept = nullcontext(({}, lambda _: None)) if folder is None else answer_file(folder / _file_name(system.name), key)
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


def _answer(user: int, target: int, ranked: Ranked, wall_s: float) -> Answer:
    return Answer(
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
        peak_mib=memory.peak_mib(),
    )


def _file_name(name: str) -> str:
    """Return a file name that is one system's alone."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].lstrip(".-")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.jsonl"
