"""What a model was tuned on, from its training record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.serving.training_record import training_split_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    BigramLlama = Callable[[Path, Mapping[str, Mapping[str, float]]], Path]


def test_what_a_model_was_tuned_on_is_read_from_its_record() -> None:
    record = {f"genrec_edge.train.{key}": key for key in ("data_sha256", "split", "ties", "seed")}
    assert training_split_of(record) == {"sha256": "data_sha256", "split": "split", "ties": "ties"}
    record["genrec_edge.train.filters"] = "rated 7 or higher"
    assert training_split_of(record) == {
        "sha256": "data_sha256",
        "split": "split",
        "ties": "ties",
        "filters": "rated 7 or higher",
    }
    del record["genrec_edge.train.ties"]
    assert training_split_of(record) is None
