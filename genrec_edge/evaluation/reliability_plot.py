"""A reliability diagram: predicted probabilities of yes against the share of targets. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from genrec_edge.storage.files import atomic_write, path_errors

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.evaluation.judge_quality import JudgeQuality


def write(path: Path, quality: JudgeQuality) -> None:
    """Write a PNG with a panel before and one after calibration; the size of a point is the number of its predictions.

    Raises:
        DiskFullError, UsageError: no room, or the path cannot be written to.
    """
    figure = Figure(figsize=(8, 4.1), layout="constrained")
    panels = (
        ("uncalibrated", quality.raw_error, quality.raw_bins),
        (f"after {quality.slope:.2f} * margin {quality.offset:+.2f}", quality.error, quality.bins),
    )
    for axis, (label, error, bins) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        axis.plot([0, 1], [0, 1], color="#c9d6df", zorder=0)
        sizes = [20 + 400 * b.n / (2 * quality.n_users) for b in bins]
        axis.scatter([b.predicted for b in bins], [b.true for b in bins], s=sizes, color="#2a6f97", alpha=0.8)
        axis.set(xlabel="predicted probability of yes", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.set_title(f"{label}\nexpected calibration error {error:.3f}", fontsize=10)
    figure.axes[0].set_ylabel("share of targets")
    with path_errors(path), atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=130)
