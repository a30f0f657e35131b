"""A base with a fresh LoRA adapter, in transformers and peft: what is trained, and how it becomes an adapter folder."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from genrec_edge.convert.training import token_rows
from genrec_edge.convert.verification.transformers_tokenizer import quiet
from genrec_edge.errors import MissingExtraError, UsageError, several

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.convert.training.loss import TitleLoss
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.convert.training.token_rows import TokenRows

_PEFT_PREFIX = "base_model.model."
_KEPT_AS = re.compile(r"\.(modules_to_save\.)?default\.")
"""What PEFT's own names have while an adapter is trained, and its files have not."""
_ROWS = "rows."
_ROWS_KEY = "token_adapter.trainable_tokens_delta"
_IN_BASE = {token_rows.EMBEDDING: f"model.{token_rows.EMBEDDING}", token_rows.OUTPUT: token_rows.OUTPUT}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_trainable(folder: Path, recipe: Recipe) -> Any:
    """Return the model of a Hugging Face folder with a new adapter on it; only the adapter is trained, in float32.

    Raises:
        MissingExtraError: a base in 4 bit was asked for, and bitsandbytes is not installed.
        UsageError: a base in 4 bit was asked for, and there is no GPU.
    """
    settings = {"quantization_config": _four_bit(recipe)} if recipe.base.load_in_4bit else {}
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_DTYPES[recipe.base.dtype],
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **settings,
        )
    torch.manual_seed(recipe.seed)
    config = peft.LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,  # type: ignore[arg-type]
        lora_dropout=recipe.lora.dropout,
        target_modules=list(recipe.lora.targets),
        modules_to_save=list(recipe.lora.whole) or None,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # transformers 5 has new names for it; 4 does not know them, and peft 0.21 does not use them.
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.*", FutureWarning)
        if recipe.base.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        adapted = peft.get_peft_model(model, config)  # whose matrices are float32, whatever the base is
    adapted.train()
    return adapted


def load_adapter(folder: Path, objective: TitleLoss) -> None:
    """Put the weights of an adapter that `write_adapter` wrote in the place of those that training begins with.

    Rows of tokens that it has not begin as those of the base.

    Raises:
        UsageError: it is not of the shape that is trained.
    """
    saved = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    own = {_saved_name(n): p for n, p in objective.named_parameters() if p.requires_grad and _PEFT_PREFIX in n}
    rows = {n: p for n, p in objective.named_parameters() if n.startswith(_ROWS)}
    for name, weight in rows.items():
        module = name.removeprefix(_ROWS)
        _put_rows(objective.rows, weight, saved.pop(_rows_name(module), None), config, module)
    wrong = sorted(set(own) ^ set(saved)) + [n for n in set(own) & set(saved) if own[n].shape != saved[n].shape]
    if wrong:
        message = f"{folder} is no adapter of the shape that is trained: {several(wrong, most=3, separator=', ')}"
        raise UsageError(message, hint="train with the same layers and [lora] as it was trained with")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(saved[name])


def _put_rows(
    trained: TokenRows | None, weight: torch.Tensor, saved: torch.Tensor | None, config: dict[str, Any], module: str
) -> None:
    """Copy the rows of tokens that an adapter has."""
    indices = config.get("trainable_token_indices") or {}
    if saved is None or trained is None:
        return
    ids = indices[module] if isinstance(indices, dict) else indices
    place = trained.place[torch.tensor(ids)]
    with torch.no_grad():
        weight[place[place >= 0]] = saved.float()[place >= 0]


def _saved_name(name: str) -> str:
    """Return what a trained weight is called in an adapter's file."""
    return _KEPT_AS.sub(".", name[name.index(_PEFT_PREFIX) :])


def _rows_name(module: str) -> str:
    return f"{_PEFT_PREFIX}{_IN_BASE[module]}.{_ROWS_KEY}"


def _four_bit(recipe: Recipe) -> BitsAndBytesConfig:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - only for GPUs
    except ModuleNotFoundError:
        message = "base.load_in_4bit needs bitsandbytes, which is not installed"
        raise MissingExtraError(message, hint="pip install bitsandbytes, or set the key to false") from None
    if not torch.cuda.is_available():
        raise UsageError("base.load_in_4bit needs a GPU, and there is none", hint="set the key to false")
    settings = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": _DTYPES[recipe.base.dtype]}
    return BitsAndBytesConfig(load_in_4bit=True, **settings)  # type: ignore[no-untyped-call]


def write_adapter(folder: Path, objective: TitleLoss, weights: Mapping[str, torch.Tensor], base_name: str) -> None:
    """Write an adapter as PEFT does, in half precision.

    Args:
        folder: exists; the files in it are replaced.
        objective: with the adapted model, for its configuration.
        weights: from `train_state.trained_weights`; what is none of the model's, such as tau, is left out.
        base_name: what the base is called.
    """
    config = dict(objective.model.peft_config["default"].to_dict())
    if objective.rows is not None:
        ids = list(objective.rows.token_ids)
        config["trainable_token_indices"] = dict.fromkeys(objective.rows.modules_changed, ids)
    # Sets come out in any order; a folder of this machine says nothing to others.
    config |= {"inference_mode": True, "base_model_name_or_path": base_name}
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    text = json.dumps(config, indent=2, default=str)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    saved = {_saved_name(name): tensor.to(torch.float16) for name, tensor in weights.items() if _PEFT_PREFIX in name}
    for module in _IN_BASE:
        if (rows := weights.get(f"{_ROWS}{module}")) is not None:
            saved[_rows_name(module)] = rows.to(torch.float16)
    save_file(saved, folder / "adapter_model.safetensors", metadata={"format": "pt"})
