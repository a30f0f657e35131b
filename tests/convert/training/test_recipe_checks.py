"""Values of the right type that are out of range, or contradict each other, are named in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.recipes import assert_refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed = -1", "seed = -1 is not in 0..2.14748e+09"),
        ('[base]\nlayers = "3-1"', "base.layers is '3-1': '3-1' is not a layer"),
        ("[lora]\nr = 0", "lora.r = 0 is not in 1..1024"),
        ("[lora]\ntoken_titles = 0", "lora.token_titles = 0 is not in 1..1e+09"),
        ("[lora]\ntargets = []", "lora.targets is empty"),
        ('[lora]\ntargets = ["q_proj", "lm_head"]', "lora.targets has lm_head; known: q_proj, k_proj"),
        ("[optimizer]\nlr = nan", "optimizer.lr = nan is not in 1e-09..10"),
        (
            "[optimizer]\nbatch = 7\nmicro_batch = 2",
            "optimizer.batch = 7 is not a multiple of optimizer.micro_batch = 2",
        ),
        ("[optimizer]\nbatch = 2\nmicro_batch = 4", "optimizer.micro_batch = 4 is not in 1..2"),
        ("[data]\nwindow = 1", "data.window = 1 is not in 2..4096"),
        ("[forms]\nhistory = 1\nreverse = 1", "forms has reverse; known: history, taste, search"),
        ("[forms]\nhistory = 0", "forms: the weights must be 0 or more, and at least one above 0"),
        ("[forms]\nhistory = 1\njudge = -1", "forms: the weights must be 0 or more, and at least one above 0"),
        ("[forms]\nhistory = 1\njudge = 1", 'forms other than "history" need prompt = "forms-1"'),
        ('prompt = "genrec-1"', 'prompt = "genrec-1" has one target per sequence: it needs data.targets = "last"'),
        ('[objective]\nkind = "vocabulary"\ndistill = 0.5', 'objective.distill needs objective.kind = "catalog"'),
        (
            '[objective]\nkind = "vocabulary"\nteacher = "taste"',
            'objective.teacher = "taste" needs objective.kind = "catalog"',
        ),
        (
            '[objective]\nkind = "vocabulary"\noffset = "week"',
            'objective.offset = "week" needs objective.kind = "catalog"',
        ),
    ],
)
def test_values_that_cannot_be_used_are_named(text: str, expected: str, tmp_path: Path) -> None:
    assert_refused(text, expected, tmp_path)
