"""The systems of benchmarks/peers.py do the job that they are timed at; beam search wide enough finds what we find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.writer import build
from genrec_edge.coordinates import CatalogRow
from genrec_edge.recommender import Recommender
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.records import ScoreKind

pytestmark = pytest.mark.usefixtures("own_home")

TITLES = ["Alien", "Aliens", "Alien Nation", "Jaws", "Jaws II", "Fargo", "Far and Away", "Psycho", "Vertigo", "Heat",
          "Brazil", "Big", "The Big Sleep", "The Sting"]  # fmt: skip


@pytest.fixture
def films_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(ROOT)  # for the folder of the benchmarks, which is not installed
    (tmp_path / "films.csv").write_text("title\n" + "\n".join(TITLES) + "\n", encoding="utf-8")
    build(tmp_path / "films.csv", tmp_path / "films.db")
    return tmp_path / "films.db"


@pytest.mark.slow
@pytest.mark.parametrize("score", ["catalog", "vocabulary"])
def test_beams_as_wide_as_the_catalog_find_the_exact_top(tiny_llama: Path, films_path: Path, score: ScoreKind) -> None:
    from benchmarks.peer_systems import TransformersBeams
    from benchmarks.peers import job_of

    with Recommender.open(tiny_llama, films_path, score=score, prior_kind="none", n_threads=1) as r:
        rows = [match.item.row for match in map(r.resolve, ["Jaws", "Heat"]) if match.item is not None]
        job = job_of(r, [rows], 1, None, 0)
        ours = r.recommend(["Jaws", "Heat"], k=10, allow_seen=True)
    answer = TransformersBeams(job, 3 * len(TITLES)).answer(0)
    assert answer.invalid == 0
    assert answer.rows == [found.item.row for found in ours.items]


def test_grammars_draw_titles_and_nothing_else(tiny_llama: Path, films_path: Path) -> None:
    from benchmarks.peer_systems import Gbnf, OneByOne
    from benchmarks.peers import job_of

    with Recommender.open(tiny_llama, films_path, score="vocabulary", n_threads=1) as r:
        job = job_of(r, [[CatalogRow(1), CatalogRow(2)]], 1, None, 0)
    answer = Gbnf(job).answer(0)
    assert answer.invalid == 0
    assert len(answer.rows) + answer.repeated == 10
    one = OneByOne(job)
    assert one.scale == 1.0
    assert one.answer(0).tokens == len(job.prompts[0]) + sum(len(title) + 1 for title in job.titles)
