"""Instruction data as text."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.training.data.export_jsonl import export_instructions, write_instructions
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.convert.training.data.windows import WindowSampler
from genrec_edge.datasets.folder import load
from genrec_edge.errors import UsageError
from tests.support.instructions import (
    HISTORIES,
    ITEM_FACTS,
    N_ITEMS,
    items_matching,
)
from tests.support.interactions import make

if TYPE_CHECKING:
    from pathlib import Path


def test_instructions_are_text_with_every_template_and_both_sources(tmp_path: Path) -> None:
    path, titles = tmp_path / "instances.jsonl", [f"Film {i}" for i in range(N_ITEMS)]
    sampler = WindowSampler(HISTORIES, window=12, seed=0)
    progress: list[tuple[int, int]] = []
    counts = write_instructions(
        path,
        sampler,
        ITEM_FACTS,
        titles,
        n=390,
        seed=0,
        on_instruction=lambda done, total: progress.append((done, total)),
    )
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == sum(counts.values()) == 390
    assert progress[-1] == (390, 390)
    assert Counter(row["template"] for row in rows) == dict.fromkeys(range(39), 10)
    for row in rows:
        template = TEMPLATES[row["template"]]
        assert row["cell"] == template.cell
        assert "{" not in row["instruction"] + row["output"]
        assert row["source"] in (
            {"target", "history"} if template.allows_history_intent else {"target"} if template.has_query else {""}
        )
        if template.answer == "title":
            assert row["output"] in titles
        if template.task == "T3":
            assert row["output"] in row["instruction"].split("\n")
        if template.answer == "verdict":
            assert row["output"] in {"yes", "no"}
        if template.answer == "query":
            item = next(line for line in row["instruction"].split("\n") if line in titles)
            assert titles.index(item) in items_matching(row["output"])
    both = Counter(row["source"] for row in rows if TEMPLATES[row["template"]].allows_history_intent)
    assert both["target"] == both["history"]
    again = tmp_path / "again.jsonl"
    write_instructions(again, sampler, ITEM_FACTS, titles, n=390, seed=0)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_instructions_are_not_written_over_their_data(tmp_path: Path) -> None:
    out = make(tmp_path)
    (tmp_path / "link.jsonl").symlink_to(out / "interactions.csv")
    before = (out / "interactions.csv").read_bytes()
    with pytest.raises(UsageError, match="over what is read"):
        export_instructions(load(out), tmp_path / "link.jsonl", n=1, split="all", ties="file", seed=0)
    assert (out / "interactions.csv").read_bytes() == before
