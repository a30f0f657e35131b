"""The picture of a verification."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib import image

from genrec_edge.convert.verification import plot
from genrec_edge.convert.verification.results import FileFigures, Verification
from tests.support.verifications import figures

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def bar_lengths(picture: Path) -> list[int]:
    """Return the longest run of the quants' colour for each group of picture rows that has some."""
    pixels = (image.imread(picture)[:, :, :3] * 255).round().astype(int)
    colour = np.array([int(plot._QUANT[i : i + 2], 16) for i in (1, 3, 5)])
    match = (np.abs(pixels - colour) < 3).all(axis=2)
    first_panel = match[:, : match.shape[1] * 28 // 100].sum(axis=1)
    groups = np.split(first_panel, np.flatnonzero(np.diff((first_panel > 20).astype(int))) + 1)
    return [int(group.max()) for group in groups if group.max() > 20]


def test_the_picture_has_a_bar_for_each_quant(verification: Verification, tmp_path: Path) -> None:
    plot.draw(tmp_path / "report.png", verification, name="films")
    lengths = bar_lengths(tmp_path / "report.png")
    assert len(lengths) == 2  # the reference has another colour
    assert lengths[1] / lengths[0] == pytest.approx(91.7 / 144.8, abs=0.03)
    assert [p.name for p in tmp_path.iterdir()] == ["report.png"]


def test_a_picture_of_figures_that_are_missing_or_zero(verification: Verification, tmp_path: Path) -> None:
    empty = FileFigures("x.gguf", "Q2_K", 1_234_567, 2.5, same_tokenizer=False)
    zero = replace(figures("F32", 1_000, 0.0, 0.0, 1.0), hits=None)
    for files in ((empty,), (verification.files[0],), (verification.files[0], empty, zero)):
        plot.draw(tmp_path / "report.png", replace(verification, files=files), name="films")
        assert image.imread(tmp_path / "report.png").shape[1] == 1650
