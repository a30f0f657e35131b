"""How good a model's verdicts are: yes or no on what users met next and on what they never met, and pairs of both.

Each user is asked about the held-out item and one drawn uniformly from the items that the user never meets, so that
half of the answers should be yes. The line that calibrates is fitted on the validation items of half of the users and
measured on the test items of the other half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.errors import UsageError
from genrec_edge.evaluation import calibration
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.significance import estimate
from genrec_edge.serving import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.splits import Split
    from genrec_edge.evaluation.calibration import Bin
    from genrec_edge.evaluation.protocol import Target
    from genrec_edge.evaluation.significance import Estimate
    from genrec_edge.serving.session import Session


@dataclass(frozen=True, slots=True, eq=False)
class JudgeMargins:
    """The log-odds of a model for each user: (n,) float64 each.

    Attributes:
        users: (n,) int32.
        met: of yes, for the item that was met.
        stranger: of yes, for the one that never is.
        first: of the met item over the stranger, named first.
        second: the same, named second.
    """

    users: NDArray[np.int32]
    met: NDArray[np.float64]
    stranger: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class JudgeQuality:
    """What was found.

    Attributes:
        n_users: measured, none of whom the line was fitted on.
        slope, offset: of the line.
        raw_error, error: expected calibration error before and after the line.
        brier, auc: after the line; its slope does not change the second.
        bins: of the reliability diagram, before and after.
        accuracy: share of pairs in which the met item is preferred, both orders asked.
        flips: share of pairs whose answer changes with the order.
        accuracy_one_way: share of right answers when the order is drawn.
    """

    n_users: int
    slope: float
    offset: float
    raw_error: float
    error: float
    brier: float
    auc: float
    raw_bins: tuple[Bin, ...]
    bins: tuple[Bin, ...]
    accuracy: Estimate
    flips: float
    accuracy_one_way: float

    def to_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "users": self.n_users,
            "slope": self.slope,
            "offset": self.offset,
            "pointwise": {
                "ece_raw": self.raw_error,
                "ece": self.error,
                "brier": self.brier,
                "auc": self.auc,
                "bins_raw": [[b.n, b.predicted, b.true] for b in self.raw_bins],
                "bins": [[b.n, b.predicted, b.true] for b in self.bins],
            },
            "pairwise": {
                "accuracy": {"mean": self.accuracy.mean, "low": self.accuracy.low, "high": self.accuracy.high},
                "flips": self.flips,
                "accuracy_one_way": self.accuracy_one_way,
            },
        }


def collect_margins(
    session: Session,
    dataset: Dataset,
    split: Split,
    target: Target,
    *,
    users: int | None = None,
    seed: int = 0,
    on_user: Callable[[str, int, int], object] = lambda _target, _done, _total: None,
) -> JudgeMargins:
    """Return what a model says about the held-out items of users, each beside one that the user never meets.

    Raises:
        UsageError: no user has such an item, or the model knows only histories.
        ModelInvalidError: to its tokenizer yes and no begin alike.
    """
    asked = cases_of(split, target=target, users=users, candidates=1, seed=seed)
    rows, n = [], len(asked.users)
    for i, (history, item, pair) in enumerate(
        zip(asked.histories, asked.targets.tolist(), asked.candidates or (), strict=True)
    ):
        latest = list(dict.fromkeys(reversed(history.tolist())))[::-1]
        session.engine.prompt(session.prompt_ids(CatalogRows(dataset.rows[latest]))[0])
        met, stranger = (
            CatalogRow(int(dataset.rows[one])) for one in (item, next(p for p in pair.tolist() if p != item))
        )
        first, second = 0.0, 0.0
        if session.path_of(met) != session.path_of(stranger):
            first, last = judge.preferences(session, [(met, stranger), (stranger, met)])
            second = -last
        rows.append((*judge.margins(session, [met, stranger]), first, second))
        on_user(target, i + 1, n)
    return JudgeMargins(asked.users, *np.array(rows).T.copy())


def judge_quality_of(fitted: JudgeMargins, measured: JudgeMargins, seed: int = 0) -> JudgeQuality:
    """Return how good verdicts are: the line fitted on half of the users of one, measured on the others of the other.

    Raises:
        UsageError: too few users to fit a line.
    """
    everyone = np.union1d(fitted.users, measured.users)
    half = np.random.default_rng(seed).permutation(everyone)[: len(everyone) // 2]
    inside, outside = np.isin(fitted.users, half), ~np.isin(measured.users, half)
    try:
        slope, offset = calibration.fit_line(*_outcomes(fitted, inside))
    except ValueError as e:
        raise UsageError(f"no line can be fitted: {e}", hint="ask more users") from e
    margins, outcomes = _outcomes(measured, outside)
    raw, calibrated = _sigmoid(margins), _sigmoid(slope * margins + offset)
    first, second = measured.first[outside], measured.second[outside]
    right = (first + second) / 2 > 0
    drawn = np.where(np.random.default_rng([seed, 1]).random(len(first)) < 0.5, first, second) > 0
    return JudgeQuality(
        n_users=int(outside.sum()),
        slope=slope,
        offset=offset,
        raw_error=calibration.calibration_error(raw, outcomes),
        error=calibration.calibration_error(calibrated, outcomes),
        brier=calibration.brier(calibrated, outcomes),
        auc=calibration.auc(margins, outcomes),
        raw_bins=tuple(calibration.reliability(raw, outcomes)),
        bins=tuple(calibration.reliability(calibrated, outcomes)),
        accuracy=estimate(right.astype(np.float64), seed=seed),
        flips=float(((first > 0) != (second > 0)).mean()),
        accuracy_one_way=float(drawn.mean()),
    )


def _outcomes(asked: JudgeMargins, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return margins and whether the item was met, of the users of a mask."""
    met, stranger = asked.met[mask], asked.stranger[mask]
    return np.concatenate([met, stranger]), np.arange(2 * len(met)) < len(met)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))
