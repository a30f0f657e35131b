"""Writes an evaluation report as pictures, as a Markdown table and as a JSON object. Needs matplotlib."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from genrec_edge.storage.files import atomic_write, path_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from genrec_edge.evaluation.report import EvaluationReport
    from genrec_edge.evaluation.significance import Estimate
    from genrec_edge.evaluation.system_metrics import SystemMetrics

_MODEL, _BASELINE, _GREY = "#2a6f97", "#9aa5ad", "#555555"


def write(folder: Path, schema: str, report: EvaluationReport) -> list[Path]:
    """Write a report into a folder and return the files; each is replaced whole.

    `evaluation.json`, `evaluation.md`, `quality.png`, and `quants.png` for models with several quantizations.

    Raises:
        DiskFullError, UsageError: no room, or a folder that cannot be written to.
    """
    document = json.dumps({"schema": schema, **report.to_json()}, ensure_ascii=False, allow_nan=False, indent=2)
    written = []
    for name, text in (("evaluation.json", document + "\n"), ("evaluation.md", report.markdown())):
        with path_errors(folder / name), atomic_write(folder / name) as file:
            file.write(text.encode(errors="replace"))
        written.append(folder / name)
    pictures = {"quality.png": _quality(report)}
    if (quants := _quants(report)) is not None:
        pictures["quants.png"] = quants
    for name, figure in pictures.items():
        with path_errors(folder / name), atomic_write(folder / name) as file:
            figure.savefig(file, format="png", dpi=150)
        written.append(folder / name)
    return written


def _quality(report: EvaluationReport) -> Figure:
    """Draw a row for each system and a panel for each metric over all users and each segment."""
    systems = report.systems
    panels: list[tuple[str, list[Estimate]]] = [
        (f"{metric.upper()}\nall users", [system.means[metric] for system in systems]) for metric in report.tested
    ]
    for name, part in systems[0].segments.items():
        if part.n_users:
            means = [system.segments[name].means[report.tested[0]] for system in systems]
            panels.append((f"{report.tested[0].upper()}, {name}\n{part.n_users:,} users", means))
    figure = Figure(figsize=(2.2 + 2.1 * len(panels), 1.7 + 0.36 * len(systems)), layout="constrained")
    axes: list[Axes] = list(figure.subplots(1, len(panels), sharey=True))
    axes[0].set_yticks(range(len(systems)), [system.name for system in systems])
    axes[0].invert_yaxis()
    for axis, (label, means) in zip(axes, panels, strict=True):
        _style(axis, label)
        _intervals(axis, systems, means)
    figure.supxlabel(f"{report.headline()}. Lines: 95 % bootstrap intervals.", fontsize=8, color=_GREY)
    return figure


def _intervals(axis: Axes, systems: Sequence[SystemMetrics], means: Sequence[Estimate]) -> None:
    """Draw means as bars with their intervals, one a row, each with its number."""
    middles = np.array([mean.mean for mean in means])
    lows, highs = np.array([mean.low for mean in means]), np.array([mean.high for mean in means])
    colors = [_BASELINE if system.is_baseline else _MODEL for system in systems]
    # For very few users a percentile interval can miss the mean by float noise.
    errors = np.maximum([middles - lows, highs - middles], 0)
    axis.barh(range(len(systems)), middles, xerr=errors, color=colors, height=0.6, error_kw={"ecolor": "#33383c"})
    room = max(float(highs.max()), 0.01)
    for row, (middle, high) in enumerate(zip(middles, highs, strict=True)):
        axis.annotate(f"{middle:.3f}".removeprefix("0"), (high, row), (3, 0), textcoords="offset points", va="center")
    axis.set_xlim(0, 1.35 * room)
    axis.locator_params(axis="x", nbins=3)  # labels of small figures are long


def _quants(report: EvaluationReport) -> Figure | None:
    """Draw size against NDCG for the quantizations of one model, or return None where no model has several.

    Systems belong to one model if nothing but the file differs in `about`.
    """
    groups: dict[str, list[SystemMetrics]] = {}
    for system in report.systems:
        if "quant" in system.about:
            same = {k: v for k, v in system.about.items() if k not in {"quant", "model_bytes", "model_sha256"}}
            groups.setdefault(json.dumps(same, sort_keys=True), []).append(system)
    groups = {key: found for key, found in groups.items() if len({system.about["quant"] for system in found}) > 1}
    if not groups:
        return None
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axis = figure.subplots()
    _style(axis, "size of the file, log scale")
    axis.set_xscale("log")
    for found in groups.values():
        found.sort(key=lambda system: system.about["model_bytes"])
        sizes = [system.about["model_bytes"] / 1e6 for system in found]
        means = [system.means[report.tested[1]] for system in found]
        middles = np.array([mean.mean for mean in means])
        errors = np.maximum([middles - [m.low for m in means], [m.high for m in means] - middles], 0)
        axis.errorbar(sizes, middles, errors, fmt="o-", color=_MODEL, ecolor=_BASELINE, capsize=3)
        for system, size, mean in zip(found, sizes, means, strict=True):
            label = f"{system.about['quant']}, {size:.3g} MB"  # upright: sizes may be close to each other
            axis.annotate(
                label, (size, mean.high), (0, 5), textcoords="offset points", rotation=90, ha="center", fontsize=8
            )
    axis.set_ylabel(f"{report.tested[1].upper()}, 95 % interval", fontsize=9)
    axis.set_xticks([])
    axis.minorticks_off()
    best = max((s.means[report.tested[1]].high for found in groups.values() for s in found), default=math.nan)
    axis.set_ylim(0, 1.4 * best if best else 1)
    axis.margins(x=0.15)
    figure.supxlabel(report.headline(), fontsize=7, color=_GREY)
    return figure


def _style(axis: Axes, label: str) -> None:
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_axisbelow(True)
