"""Adapters and folders with a training record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from genrec_edge.convert.lora.peft_reader import Adapter
from genrec_edge.gguf.training_keys import RECORD_NAME

if TYPE_CHECKING:
    from pathlib import Path


def folder_base(folder: Path, document: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def adapter_at(folder: Path, record: object = None, weight: float = 1.0) -> Adapter:
    folder.mkdir(exist_ok=True)
    if record is not None:
        (folder / RECORD_NAME).write_text(json.dumps(record))
    return Adapter(folder, "0" * 64, weight, 8, 16.0, {}, {}, {})


RECORD = {
    "data": "MovieLens",
    "seed": 4294967295,
    "split": "leave-last-out",
    "quality.hit@10": 0.25,
    "finished": True,
    "score_kind": "catalog",
}
