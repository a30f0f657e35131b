"""A training run's state on disk, to go on from after a kill: adapter, moments of AdamW, and where it was.

Two safetensors files and a JSON file: no pickle is ever read. There is one whole checkpoint at a time.
Source: torch.distributed.checkpoint.state_dict, which gathers the shards of FSDP and leaves other models as they are.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, field
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
    from pathlib import Path

    from torch import nn

_GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_SCATTERED = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
_PREFIX = "step-"
_TRAINED = re.compile(r"\.(lora_[AB]|modules_to_save)\.|^rows\.")
_LEARNED = ("tau", "lambda_")
"""What the residual objective learns beside the adapter."""


@dataclass(slots=True)
class Progress:
    """Where a run is.

    Attributes:
        events: targets trained on.
        seconds: spent in steps.
        log: an entry for each step.
        looks: one for each validation.
    """

    step: int = 0
    events: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    looks: list[dict[str, float]] = field(default_factory=list)


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what is trained, by name, on the CPU; every process has to call it."""
    state: dict[str, Any] = get_model_state_dict(model, options=_GATHERED)
    # Frozen ones are left out above, except for an output matrix that is the embedding.
    trained = {name: tensor for name, tensor in state.items() if _TRAINED.search(name) or name in _LEARNED}
    return {name: tensor.contiguous() for name, tensor in trained.items()}


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, *, is_main: bool
) -> None:
    """Write a checkpoint below `folder`; every process has to call it, the main one writes."""
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
    work = path.with_name(path.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    save_file(weights, work / "model.safetensors")
    save_file(moments, work / "optimizer.safetensors")
    document = {"progress": asdict(progress), "groups": state["param_groups"]}
    (work / "progress.json").write_text(json.dumps(document), encoding="utf-8")
    for file in work.iterdir():
        sync(file)
    work.rename(path)
    sync(folder)
    for other in folder.iterdir():
        if other != path:
            shutil.rmtree(other)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put the newest checkpoint below `folder` into model and optimizer; nothing changes where there is none."""
    found = sorted(path for path in folder.glob(f"{_PREFIX}*") if not path.name.endswith(".part"))
    if not found:
        return Progress()
    document = json.loads((found[-1] / "progress.json").read_text(encoding="utf-8"))
    weights: dict[str, Any] = dict(load_file(found[-1] / "model.safetensors"))
    set_model_state_dict(model, weights, options=_SCATTERED)
    state: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(found[-1] / "optimizer.safetensors").items():
        name, _, part = key.rpartition("|")
        state.setdefault(name, {})[part] = tensor
    whole: Any = {"state": state, "param_groups": document["groups"]}
    set_optimizer_state_dict(model, optimizer, whole, options=_SCATTERED)
    return Progress(**document["progress"])
