"""The log-probabilities after an empty history: kept in a file, and computed again where it cannot be used."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit
from genrec_edge.gguf.training_keys import CALIBRATE_KEY
from genrec_edge.serving import unconditional
from genrec_edge.serving.training_record import calibrate_of
from tests.support.faults import largest_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from genrec_edge.records import Result


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


def loaded(folder: Path) -> tuple[list[float], int]:
    """Return the log-probabilities of four titles, and how often they were computed."""
    computed = []

    def compute() -> NDArray[np.float64]:
        computed.append(1)
        return -np.arange(1.0, 5)

    return unconditional.load(folder, {"model": "m"}, "one", 4, compute).tolist(), len(computed)


@pytest.mark.slow
def test_a_damaged_file_is_computed_again_or_holds_what_was_written(
    tmp_path: Path, trials: Callable[[int, int], int]
) -> None:
    expected, _ = loaded(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    n_again = 0
    for seed in range(trials(60, 5_000)):
        rng = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 8])):
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.1:
            damaged = damaged[: rng.randrange(len(whole))]
        path.write_bytes(damaged)
        found, n = loaded(tmp_path)
        assert found == expected
        n_again += n
    assert n_again > 0


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_no_cache(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    expected, _ = loaded(tmp_path)
    (path,) = tmp_path.iterdir()
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    assert loaded(tmp_path) == (expected, 1)
    assert ("is not kept" in caplog.text) == (kind == "folder")


def test_no_title_is_likelier_than_sure(tmp_path: Path) -> None:
    expected, _ = loaded(tmp_path)
    (path,) = tmp_path.iterdir()
    with np.load(path) as archive:
        np.savez(path, logprobs=-archive["logprobs"], catalog=archive["catalog"])
    assert loaded(tmp_path) == (expected, 1)


def test_a_folder_that_is_a_file_holds_no_damaged_calibration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    loaded(tmp_path / "file")
    assert "damaged" not in caplog.text


def test_what_cannot_be_kept_is_an_answer_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with largest_file(100):
        assert loaded(tmp_path) == ([-1.0, -2.0, -3.0, -4.0], 1)
    assert "is not kept" in caplog.text
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert loaded(tmp_path / "file") == ([-1.0, -2.0, -3.0, -4.0], 1)


@pytest.mark.slow
def test_a_model_says_how_much_is_taken_off_unless_the_caller_does(
    residual_model: Callable[[Mapping[str, Any]], Path], tricky_path: Path, own_home: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(tricky_path, tmp_path / "own.db"))
    path = residual_model({"objective": "catalog", "calibrate": 0.5, "prior_weight": 2.0})
    found: dict[float | None, Result] = {}
    for alpha in (None, 0.5, 0.0):
        with Recommender.open(path, own, n_threads=1, calibrate=alpha) as recommender:
            found[alpha] = recommender.recommend(["Alien"], k=20)
    assert found[None].items == found[0.5].items
    assert (found[None].model["calibrate"], "calibrate" in found[0.0].model) == (0.5, False)
    (kept,) = own_home.rglob("habits-*.npz")
    with np.load(kept) as archive:
        assert len(archive["logprobs"]) == 60
    n, without = np.log(60), {item.item.id: item for item in found[0.0].items}
    assert any(item.item.id in without for item in found[None].items)
    for item in found[None].items:
        if (plain := without.get(item.item.id)) is None:
            continue
        habit = (plain.bias - item.bias) / 0.5
        assert item.parts["model"] == pytest.approx(item.logprob + n - 0.5 * (habit + n), abs=1e-3)
        assert plain.parts["model"] == pytest.approx(plain.logprob + n, abs=1e-3)


@pytest.mark.parametrize(
    ("record", "expected"), [(0.3, 0.3), (0.0, 0.0), (-1.0, 0.0), (np.inf, 0.0), ("1", 0.0), (None, 0.0)]
)
def test_what_a_record_may_say_of_it(record: object, expected: float) -> None:
    assert calibrate_of({CALIBRATE_KEY: record}) == expected
