"""Pictures, table and JSON of a report, and the reliability diagram."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.errors import UsageError
from genrec_edge.evaluation.judge_quality import JudgeMargins, judge_quality_of
from genrec_edge.evaluation.runner import evaluate
from tests.support.evaluation import FIRST, SECOND, SPLIT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("matplotlib")
PNG = b"\x89PNG"


@pytest.mark.slow
def test_a_report_is_written_whole_and_quantizations_of_one_model_get_a_picture(tmp_path: Path) -> None:
    from genrec_edge.evaluation.plots import write

    report = evaluate(SPLIT, [FIRST, SECOND])
    files = write(tmp_path / "plain", "schema@1", report)
    assert [path.name for path in files] == ["evaluation.json", "evaluation.md", "quality.png"]
    assert json.loads(files[0].read_text(encoding="utf-8")) == json.loads(
        json.dumps({"schema": "schema@1", **report.to_json()})
    )
    assert files[1].read_text(encoding="utf-8") == report.markdown()
    assert files[2].read_bytes().startswith(PNG)
    about = [{"quant": "F16", "model_bytes": 2_000_000}, {"quant": "Q8_0", "model_bytes": 1_000_000}]
    systems = tuple(replace(system, about=one) for system, one in zip(report.systems, about, strict=True))
    files = write(tmp_path / "quants", "schema@1", replace(report, systems=systems))
    assert [path.name for path in files] == ["evaluation.json", "evaluation.md", "quality.png", "quants.png"]
    assert files[3].read_bytes().startswith(PNG)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        write(tmp_path / "file" / "below", "schema@1", report)


def test_a_reliability_diagram_is_a_picture(tmp_path: Path) -> None:
    from genrec_edge.evaluation.reliability_plot import write

    rng = np.random.default_rng(0)
    target, negative = rng.normal(1, 1, 40), rng.normal(-1, 1, 40)
    margins = JudgeMargins(np.arange(40, dtype=np.int32), target, negative, target - negative, target - negative)
    write(tmp_path / "reliability.png", judge_quality_of(margins, margins))
    assert (tmp_path / "reliability.png").read_bytes().startswith(PNG)
