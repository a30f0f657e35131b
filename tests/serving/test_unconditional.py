"""The log-probabilities after an empty history: kept in a file, and computed again where it cannot be used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit
from genrec_edge.serving import unconditional

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.slow
def test_a_calibration_is_kept_and_made_anew_for_another_catalog_or_a_damaged_file(
    tiny_llama: Path, tricky_path: Path, own_home: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(tricky_path, tmp_path / "own.db"))

    def biases() -> tuple[dict[str, float], list[int]]:
        reported: list[int] = []
        with Recommender.open(tiny_llama, own, n_threads=1) as recommender:
            recommender.calibrate(1.0, lambda done, _total: reported.append(done))
            return {r.item.id: r.bias for r in recommender.recommend(k=20).items}, reported

    first, reported = biases()
    assert reported == list(range(1, 61))
    assert biases() == (first, [])
    (kept,) = own_home.rglob("habits-*.npz")
    with np.load(kept) as archive:
        arrays = dict(archive)
    np.savez(kept, **(arrays | {"logprobs": arrays["logprobs"] + 1}))
    assert biases()[0] == pytest.approx({i: bias - 1 for i, bias in first.items()})  # it was read
    for damage in (b"", b"PK\x03\x04 no", kept.read_bytes()[:-40]):
        kept.write_bytes(damage)
        assert biases() == (first, reported)
    np.savez(kept, **(arrays | {"logprobs": np.full(60, np.nan)}))
    assert biases() == (first, reported)
    edit.add_item(own, "Quite New", id="new")
    assert len(biases()[1]) == 61


def test_the_log_probabilities_are_computed_once_for_a_model_and_a_catalog(tmp_path: Path) -> None:
    computed: list[int] = []

    def logprobs(catalog: str, n_items: int = 4, **model: str | None) -> list[float]:
        def compute() -> NDArray[np.float64]:
            computed.append(n_items)
            return -np.arange(1.0, n_items + 1)

        found = unconditional.load(tmp_path, {"model": "m", **model}, catalog, n_items, compute)
        return [float(logprob) for logprob in found]

    assert logprobs("one") == logprobs("one") == [-1.0, -2.0, -3.0, -4.0]
    assert computed == [4]
    logprobs("one", adapter="a")  # a file of its own
    logprobs("one")
    assert computed == [4, 4]
    logprobs("two")  # in the place of the first
    logprobs("one")
    assert logprobs("one", n_items=2) == [-1.0, -2.0]
    assert computed == [4, 4, 4, 4, 2]
    assert len(list(tmp_path.iterdir())) == 2
