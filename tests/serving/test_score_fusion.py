"""What a prior and a calibration do to scores: against the counts and the plain search."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.coordinates import CatalogRows, TriePosition
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.options import OpenOptions
from genrec_edge.records import Interaction, ScoreKind
from genrec_edge.serving.score_fusion import LearnedPrior, PriorUse, prior_use
from tests.support.prior_files import log_priors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("own_home")


def test_a_model_tuned_on_a_prior_wants_one(
    tricky_path: Path, prior_path: Path, residual_model: Callable[[Mapping[str, Any]], Path]
) -> None:
    with pytest.raises(UsageError, match="was tuned to add to a counted prior") as error:
        Recommender.open(residual_model({"tau": 0.5, "lambda": 1.0}), tricky_path)
    assert "`prior`" in error.value.hint
    for record in ({}, {"tau": 0.5}, {"tau": 0.5, "lambda": "much"}):
        with pytest.raises(ModelInvalidError, match="but not with numbers"):
            Recommender.open(residual_model(record), tricky_path, prior=prior_path)


def test_what_is_rated_low_is_not_followed(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    history = [Interaction(id="004", rating=5), Interaction(id="005", rating=1), Interaction(id="017", rating=4)]
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior=prior_path, prior_kind="sequence") as recommender:
        result = recommender.recommend(history, k=5, min_rating=3)
    truth = log_priors(prior_path, ["004", "017"])
    assert [r.prior for r in result.items] == pytest.approx([truth[r.item.id] for r in result.items])
    assert "005" not in {r.item.id for r in result.items}


def test_a_prior_follows_a_catalog_that_changes(
    tiny_llama: Path, tricky_path: Path, prior_path: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(tricky_path, tmp_path / "own.db"))
    with Recommender.open(tiny_llama, own, n_threads=1, prior=prior_path, prior_kind="sequence") as recommender:
        assert recommender.session.describe_model()["prior_dropped"] == 0
        edit.remove(own, ["004"])
        edit.add_item(own, "Quite New", id="new")
        found = {r.item.id: r.prior for r in recommender.recommend(k=60).items}
        assert recommender.session.describe_model()["prior_dropped"] == 1
    assert found["new"] is not None
    assert found["new"] == min(value for value in found.values() if value is not None)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
def test_a_calibration_takes_off_what_is_usual(tiny_llama: Path, tricky_path: Path, own_home: Path, score: Any) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, score=score, prior_kind="none") as recommender:
        usual = {r.item.id: r.logprob for r in recommender.recommend(k=60).items}
        plain = {r.item.id: r.logprob for r in recommender.recommend(["Alien"], k=59).items}
        recommender.calibrate(0.5)
        result = recommender.recommend(["Alien"], k=59)
        assert result.model["calibrate"] == 0.5
        for r in result.items:
            # The noise of a title grows with its nats: the tiny model has titles of more than 60.
            assert r.logprob == pytest.approx(plain[r.item.id], rel=5e-5, abs=2e-4)
            assert r.bias == pytest.approx(-0.5 * usual[r.item.id], rel=5e-5, abs=2e-4)
            assert r.score == r.logprob + r.bias
        recommender.calibrate(0)
        assert {r.bias for r in recommender.recommend(["Alien"], k=5).items} == {0}


def test_free_text_has_no_prior(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior=prior_path) as recommender:
        result = recommender.recommend(["Alien"], k=3, decode="free")
    assert all(r.prior is None and r.bias == 0 for r in result.items)


def rows_of(path: Path) -> NDArray[np.int64]:
    with Catalog.open(path) as opened:
        return np.array([row for row, _, _ in opened.titles()], np.int64)


@pytest.mark.slow
def test_another_catalog_gets_what_it_shares(prior_path: Path, films_path: Path, tiny_llama: Path) -> None:
    """The films that come along have most of these titles, under other ids."""
    with Recommender.open(tiny_llama, films_path, n_threads=1, prior=prior_path, prior_kind="sequence") as recommender:
        described = recommender.session.describe_model()
        assert 0 < int(described["prior_dropped"] or 0) < 30
        added = recommender.session.fused_scores(CatalogRows(rows_of(films_path)[:3]))
        assert added.log_prior is not None
        assert np.isfinite(added.log_prior).all()
        assert np.exp(added.log_prior).sum() == pytest.approx(1)


def test_without_a_prior_a_search_is_given_nothing(recommender: Recommender) -> None:
    session = recommender.session
    fused = session.fused_scores(CatalogRows(np.array([1, 2], np.int64)))
    assert fused.bias.tolist() == [0.0] * session.trie.n_items
    assert (fused.below, fused.log_prior, fused.prior_of(TriePosition(0))) == (None, None, None)


def test_how_a_prior_enters_follows_from_the_options_and_the_record() -> None:
    record = {"genrec_edge.train.objective": "residual", "genrec_edge.train.tau": 0.5, "genrec_edge.train.lambda": 0.75}

    def used(score: ScoreKind, made_by: Mapping[str, object], **options: Any) -> PriorUse | None:
        return prior_use(OpenOptions(prior="p.db", **options), score=score, record=made_by)

    path = Path("p.db")
    assert used("catalog", record) == PriorUse(path, "sequence", 1.0, learned=LearnedPrior("sequence", 0.5, 0.75))
    assert used("catalog", record, prior_weight=2.0) == PriorUse(path, "mixture", 2.0, words_weight=2.0)
    assert used("catalog", record, prior_kind="popularity") == PriorUse(path, "popularity", 4.0)
    assert used("vocabulary", record) == PriorUse(path, "mixture", 4.0)
    assert used("catalog", {}, prior_weight=0.0) == PriorUse(path, "mixture", 0.0, words_weight=0.0)
    assert used("catalog", {}) == PriorUse(path, "mixture", 10.0)
    assert used("catalog", record, prior_kind="none") is None
    best = {"genrec_edge.train.objective": "catalog", "genrec_edge.train.prior_weight": 2.5}
    assert used("catalog", best) == PriorUse(path, "mixture", 2.5)
    for wrong in (float("nan"), -1.0, "2.5"):
        assert used("catalog", best | {"genrec_edge.train.prior_weight": wrong}) == PriorUse(path, "mixture", 4.0)
    assert prior_use(OpenOptions(), score="catalog", record={}) == PriorUse(None, "mixture", 10.0)
    on_mixture, learned = record | {"genrec_edge.train.prior": "mixture"}, LearnedPrior("mixture", 0.5, 0.75)
    assert prior_use(OpenOptions(), score="catalog", record=on_mixture) == PriorUse(None, "mixture", 1.0, 1.0, learned)
    assert used("catalog", on_mixture, prior_weight=0.25) == PriorUse(path, "mixture", 0.25, 0.25, learned)
    recorded = on_mixture | {"genrec_edge.train.prior_weight": 3.0}
    assert used("catalog", recorded, prior_kind="mixture") == PriorUse(path, "mixture", 3.0, 3.0, learned)
    assert used("catalog", recorded, prior_kind="sequence") == PriorUse(path, "sequence", 4.0)
    assert used("vocabulary", on_mixture) == PriorUse(path, "mixture", 4.0)
    for options in ({"prior_kind": "sequence"}, {"prior_kind": "none", "prior": "p.db", "prior_weight": 1.0}):
        with pytest.raises(UsageError):
            prior_use(OpenOptions(**options), score="catalog", record={})
