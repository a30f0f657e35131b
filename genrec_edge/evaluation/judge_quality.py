"""How good a model is as a judge: yes or no on a user's target and on a negative, and which of the two it prefers.

The negative of a user is drawn uniformly from the items outside of the user's events, so half of the answers should be
yes. The calibration line is fitted on the validation items of half of the users and measured on the test items of the
other half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.engine.numerics import sigmoid
from genrec_edge.errors import UsageError
from genrec_edge.evaluation import calibration
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.significance import estimate
from genrec_edge.serving import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split
    from genrec_edge.evaluation.calibration import Bin
    from genrec_edge.evaluation.significance import Estimate
    from genrec_edge.records import Target
    from genrec_edge.serving.session import Session


@dataclass(frozen=True, slots=True, eq=False)
class JudgeMargins:
    """The log-odds of a model for each user: (n,) float64 each.

    Attributes:
        users: (n,) int32.
        target: of yes, for the target.
        negative: of yes, for the negative.
        target_first: of the target over the negative, with the target named first.
        target_second: the same, with the target named second.
    """

    users: NDArray[np.int32]
    target: NDArray[np.float64]
    negative: NDArray[np.float64]
    target_first: NDArray[np.float64]
    target_second: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class JudgeQuality:
    """Metrics of a judge.

    Attributes:
        n_users: users measured; the line was fitted on other users.
        slope, offset: of the calibration line.
        raw_error, error: expected calibration error before and after calibration.
        brier, auc: after calibration; the second is the same before.
        raw_bins, bins: of the reliability diagram, before and after calibration.
        accuracy: share of pairs in which the target is preferred, averaged over both orders.
        flips: share of pairs whose answer changes with the order.
        accuracy_one_way: share of right answers with a random order.
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
        """Return all metrics, ready for JSON."""
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
                "accuracy": self.accuracy.to_json(),
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
    """Return the log-odds of a model for the held-out items of users, each beside one negative.

    Raises:
        UsageError: no user has such an item, or the model was tuned on histories only.
        ModelInvalidError: the tokenizer gives yes and no the same first token.
    """
    if not split.has_targets(target):
        message = f"no user of {dataset.name} has a {target} item: too few events, or one they had met before"
        raise UsageError(message, hint="name data whose users meet at least three different items")
    cases = cases_of(split, target=target, users=users, candidates=1, seed=seed)
    margins, n = [], len(cases.users)
    pairs = zip(cases.histories, cases.targets.tolist(), cases.candidates or (), strict=True)
    for done, (history, target_item, candidates) in enumerate(pairs, start=1):
        (negative_item,) = (item for item in candidates.tolist() if item != target_item)
        distinct = list(dict.fromkeys(reversed(history.tolist())))[::-1]
        session.engine.prompt(session.prompts.build(CatalogRows(dataset.rows[distinct]))[0])
        target_row, negative_row = (CatalogRow(int(dataset.rows[item])) for item in (target_item, negative_item))
        target_first, target_second = 0.0, 0.0
        if session.title_tokens(target_row) != session.title_tokens(negative_row):
            orders = [(target_row, negative_row), (negative_row, target_row)]
            target_first, negative_first = judge.preferences(session, orders)
            target_second = -negative_first
        margins.append((*judge.margins(session, [target_row, negative_row]), target_first, target_second))
        on_user(target, done, n)
    return JudgeMargins(cases.users, *np.array(margins).T.copy())


def judge_quality_of(fitted: JudgeMargins, measured: JudgeMargins, seed: int = 0) -> JudgeQuality:
    """Return the metrics of a random half of the users in `measured`; the line is fitted on the other half in `fitted`.

    Raises:
        UsageError: too few users to fit a line.
    """
    everyone = np.union1d(fitted.users, measured.users)
    half = np.random.default_rng(seed).permutation(everyone)[: len(everyone) // 2]
    inside, outside = np.isin(fitted.users, half), ~np.isin(measured.users, half)
    try:
        slope, offset = calibration.fit_line(*_outcomes(fitted, inside))
    except ValueError as e:
        raise UsageError(f"the calibration line cannot be fitted: {e}", hint="evaluate more `users`") from e
    margins, outcomes = _outcomes(measured, outside)
    raw, calibrated = sigmoid(margins), sigmoid(slope * margins + offset)
    first, second = measured.target_first[outside], measured.target_second[outside]
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


def _outcomes(judged: JudgeMargins, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return margins and whether the item is the target, of the users of a mask."""
    targets, negatives = judged.target[mask], judged.negative[mask]
    return np.concatenate([targets, negatives]), np.arange(2 * len(targets)) < len(targets)
