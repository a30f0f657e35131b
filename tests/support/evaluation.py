"""Evaluations of a made-up split by systems whose rankings are written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from genrec_edge.datasets.split import Split
from genrec_edge.evaluation.ranker import Ranking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from genrec_edge.evaluation.conditioning import Conditioning
    from genrec_edge.evaluation.report import EvaluationReport


N_ITEMS = 40


TIMES = {"latency_p50_s", "latency_p95_s", "users_per_s", "peak_memory_mib"}


def indexes(items: Sequence[int]) -> NDArray[np.int32]:
    return np.array(items, np.int32)


def make_split(
    train: Sequence[Sequence[int]], validation: Sequence[int], test: Sequence[int], **about: object
) -> Split:
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


SPLIT = make_split([[0, 1], [1, 2, 3], [1], [0, 1, 2, 3], [5]], [4, 5, -1, 6, -1], [7, 0, 2, 8, -1])
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
        self.times: Sequence[float] | None = None
        self._answers = answers

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        conditioning: Sequence[Conditioning] | None = None,
        times: Sequence[float] | None = None,
    ) -> Iterator[Ranking]:
        self.times = times
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
