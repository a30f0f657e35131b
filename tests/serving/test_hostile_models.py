"""Made and re-laid GGUF files run or are refused: none ends the process, takes long or takes much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
MOST_S = 5.0
MOST_MIB = 256

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("kind", "sample", "everything"), [("made", 60, 300), ("relaid", 100, 5000)])
def test_hostile_models_run_or_are_refused(
    kind: str, sample: int, everything: int, trials: Callable[[int, int], int], tmp_path: Path
) -> None:
    n = trials(sample, everything)
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.loading_child", kind, tmp_path, "0", str(n)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    outcomes = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(outcomes) == n, child.stderr[-3000:]
    ends = Counter(end for _kind, _number, end, _seconds, _mib in outcomes)
    bad = [outcome for outcome in outcomes if outcome[2] not in {"runs", "refused", "memory"}]
    assert bad == [], child.stderr[-3000:]
    assert min(ends["runs"], ends["refused"]) > n // 10  # the files are neither harmless nor hopeless
    assert max(seconds for *_, seconds, _mib in outcomes) < MOST_S
    assert max(mib for *_, mib in outcomes) < MOST_MIB
