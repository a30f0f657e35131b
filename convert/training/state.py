"""The state of a training run on disk, to resume from after a kill: adapter, moments of AdamW, and progress.

Two safetensors files and a JSON file: no pickle is ever read. There is one complete state at a time.
Source: torch.distributed.checkpoint.state_dict, which gathers the shards of FSDP and leaves other models as they are.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from genrec_edge.storage.files import sync

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

_GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_SCATTERED = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
_PREFIX = "step-"
_PART = ".part"
_WEIGHTS, _MOMENTS, _PROGRESS = "model.safetensors", "optimizer.safetensors", "progress.json"
_ADAPTER_NAMES = re.compile(r"\.(lora_[AB]|modules_to_save)\.|^rows\.")
_RESIDUAL_NAMES = ("tau", "lambda_")
"""The parameters of the residual objective."""


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps done.
        events: targets trained on.
        seconds: time spent in steps.
        log: an entry per step.
        validations: an entry per validation: step, events, and the metrics if anything is held out.
    """

    step: int = 0
    events: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the trained weights by name, on the CPU; every process has to call it."""
    state: dict[str, Any] = get_model_state_dict(model, options=_GATHERED)
    # The options above leave out frozen weights, except for an output matrix that is tied to the embedding.
    return {
        name: tensor.contiguous()
        for name, tensor in state.items()
        if _ADAPTER_NAMES.search(name) or name in _RESIDUAL_NAMES
    }


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, *, is_main: bool
) -> None:
    """Write a state below `folder` and remove the others; every process has to call it, the main one writes."""
    weights = trained_weights(model)
    state: dict[str, Any] = get_optimizer_state_dict(model, optimizer, options=_GATHERED)
    path = folder / f"{_PREFIX}{progress.step:08d}"
    if not is_main or path.exists():
        return
    moments = {
        f"{name}|{key}": value.contiguous() if isinstance(value, torch.Tensor) else torch.tensor(value)
        for name, values in state["state"].items()
        for key, value in values.items()
    }
    partial = path.with_name(path.name + _PART)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(weights, partial / _WEIGHTS)
    save_file(moments, partial / _MOMENTS)
    document = {"progress": _progress_document(progress), "groups": state["param_groups"]}
    (partial / _PROGRESS).write_text(json.dumps(document), encoding="utf-8")
    for file in partial.iterdir():
        sync(file)
    partial.rename(path)
    sync(folder)
    for other in folder.iterdir():
        if other != path:
            shutil.rmtree(other)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Load the newest state below `folder` into model and optimizer; without one, nothing changes."""
    found = sorted(path for path in folder.glob(f"{_PREFIX}*") if not path.name.endswith(_PART))
    if not found:
        return Progress()
    newest = found[-1]
    document = json.loads((newest / _PROGRESS).read_text(encoding="utf-8"))
    weights: dict[str, Any] = dict(load_file(newest / _WEIGHTS))
    set_model_state_dict(model, weights, options=_SCATTERED)
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for name_and_key, tensor in load_file(newest / _MOMENTS).items():
        name, _, key = name_and_key.rpartition("|")
        moments.setdefault(name, {})[key] = tensor
    optimizer_state: Any = {"state": moments, "param_groups": document["groups"]}
    set_optimizer_state_dict(model, optimizer, optimizer_state, options=_SCATTERED)
    return _progress_of(document["progress"])


def _progress_document(progress: Progress) -> dict[str, Any]:
    """Return progress with the keys that it has on disk."""
    return {
        "step": progress.step,
        "events": progress.events,
        "seconds": progress.seconds,
        "log": progress.log,
        "looks": progress.validations,
    }


def _progress_of(document: Mapping[str, Any]) -> Progress:
    """Return the progress that `_progress_document` wrote."""
    return Progress(
        step=document["step"],
        events=document["events"],
        seconds=document["seconds"],
        log=document["log"],
        validations=document["looks"],
    )
