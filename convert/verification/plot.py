"""Draws the report: size, speed and quality of every file type. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from genrec_edge.convert.verification.report import megabytes, percent
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from genrec_edge.convert.verification.results import FileFigures, Verification

_QUANT, _REFERENCE = "#2a6f97", "#9aa5ad"
_MIN_KL = 1e-8
"""The place of a divergence of zero on the logarithmic axis."""


def draw(path: Path, verification: Verification, *, name: str) -> None:
    """Write a PNG with a row for each file type and a panel each for size, speed, mean KL and top-10 overlap.

    Args:
        path: the PNG file; replaced atomically.
        verification: the values to draw; missing ones are left out.
        name: the name of the model, for the title.

    Raises:
        DiskFullError: the disk is full; `path` is unchanged.
    """
    files = verification.files
    figure = Figure(figsize=(11, 2.1 + 0.42 * len(files)), layout="constrained")
    axes: list[Axes] = list(figure.subplots(1, 4, sharey=True))
    axes[0].set_yticks(range(len(files)), [f.file_type for f in files])
    axes[0].invert_yaxis()
    _bars(
        axes[0],
        files,
        "size (MB)\nless is better",
        [f.n_bytes / 1e6 for f in files],
        [megabytes(f.n_bytes)[:-3] for f in files],
    )
    ratios = [verification.speed_ratio(f) for f in files]
    reference = files[0].file_type
    _bars(
        axes[1],
        files,
        f"requests per second ({reference} = 1)\nmore is better",
        ratios,
        ["" if r is None else f"{r:.2f}x" for r in ratios],
    )
    divergences = [f.agreement.mean_kl if f.agreement else None for f in files]
    _points(axes[2], f"mean KL to {reference} (nats), log scale\nless is better", divergences)
    overlaps = [f.overlap for f in files]
    _bars(
        axes[3],
        files,
        f"top-10 overlap with {reference}\nmore is better",
        overlaps,
        ["" if o is None else percent(o) for o in overlaps],
    )
    axes[3].set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50%", "", "100%"])
    figure.suptitle(f"{name}: what each quantization costs", fontweight="bold")
    samples = f"{verification.n_positions:,} token positions and {verification.n_histories} histories"
    source = f"the catalog “{verification.catalog}” of {verification.n_items:,} items"
    figure.supxlabel(f"Medians and means over {samples} drawn from {source}.", fontsize=9, color="#555555")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=150)


def _bars(axes: Axes, files: tuple[FileFigures, ...], label: str, values: list[float | None], texts: list[str]) -> None:
    _style(axes, label)
    lengths = [value or 0.0 for value in values]
    bars = axes.barh(range(len(files)), lengths, color=_colors(files), height=0.6)
    axes.bar_label(bars, texts, padding=3, fontsize=9)
    axes.set_xlim(0, 1.28 * max([*lengths, 1e-9]))


def _points(axes: Axes, label: str, values: list[float | None]) -> None:
    _style(axes, label)
    axes.set_xscale("log")
    axes.minorticks_off()
    known = [(y, max(value, _MIN_KL), value) for y, value in enumerate(values) if value is not None]
    for y, x, value in known:
        axes.plot(x, y, "o", color=_QUANT, markersize=8)
        axes.annotate(f"{value:.2g}", (x, y), (7, 0), textcoords="offset points", va="center", fontsize=9)
    if known:
        axes.set_xlim(min(x for _, x, _ in known) / 3, max(x for _, x, _ in known) * 20)
    axes.grid(axis="x", color="#e3e6e8")


def _style(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_axisbelow(True)


def _colors(files: tuple[FileFigures, ...]) -> list[str]:
    return [_REFERENCE, *[_QUANT] * (len(files) - 1)]
