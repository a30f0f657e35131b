"""A base with a LoRA adapter, in transformers and peft: how it is loaded, and how the adapter is written."""

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
from genrec_edge.convert.training.job import ADAPTER_WEIGHTS
from genrec_edge.convert.verification.transformers_tokenizer import quiet
from genrec_edge.errors import MissingExtraError, UsageError, several

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.convert.training.loss import TitleLoss
    from genrec_edge.convert.training.recipe import Recipe
    from genrec_edge.convert.training.token_rows import TokenRows

_CONFIG = "adapter_config.json"
_PEFT_PREFIX = "base_model.model."
_TRAINING_INFIX = re.compile(r"\.(modules_to_save\.)?default\.")
"""Part of PEFT's names while an adapter is trained; its files do not have it."""
_ROWS_PREFIX = "rows."
"""The names of token rows in a `TitleLoss` begin with it."""
_ROWS_KEY = "token_adapter.trainable_tokens_delta"
_MODULE_PATHS = {token_rows.EMBEDDING: f"model.{token_rows.EMBEDDING}", token_rows.OUTPUT: token_rows.OUTPUT}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_trainable(folder: Path, recipe: Recipe) -> Any:
    """Return the model of a Hugging Face folder with a new adapter; only the adapter is trained, in float32.

    Raises:
        MissingExtraError: the recipe loads the base in 4 bit, and bitsandbytes is not installed.
        UsageError: the recipe loads the base in 4 bit, and there is no GPU.
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
        adapted = peft.get_peft_model(model, config)  # its matrices are float32, whatever the base is
    adapted.train()
    return adapted


def _four_bit(recipe: Recipe) -> BitsAndBytesConfig:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - only for GPUs
    except ModuleNotFoundError:
        message = "base.load_in_4bit needs bitsandbytes, which is not installed"
        raise MissingExtraError(message, hint="pip install bitsandbytes, or set the key to false") from None
    if not torch.cuda.is_available():
        raise UsageError("base.load_in_4bit needs a GPU, and none was found", hint="set the key to false")
    settings = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": _DTYPES[recipe.base.dtype]}
    return BitsAndBytesConfig(load_in_4bit=True, **settings)  # type: ignore[no-untyped-call]


def load_adapter(folder: Path, objective: TitleLoss) -> None:
    """Load the weights of an adapter that `write_adapter` wrote into a model, as the initial weights of training.

    Token rows that the adapter does not have stay those of the base.

    Raises:
        UsageError: the adapter's modules or ranks are not those of the model.
    """
    saved = load_file(folder / ADAPTER_WEIGHTS)
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    weights = {_saved_name(n): p for n, p in objective.named_parameters() if p.requires_grad and _PEFT_PREFIX in n}
    if objective.rows is not None:
        for module, rows in objective.rows.named_parameters():
            saved_rows = saved.pop(_saved_rows_name(module), None)
            if saved_rows is not None:
                _load_rows(objective.rows, rows, saved_rows, _token_ids_of(config, module))
    differing = sorted(set(weights) ^ set(saved))
    differing += [name for name in set(weights) & set(saved) if weights[name].shape != saved[name].shape]
    if differing:
        names = several(differing, most=3, separator=", ")
        message = f"the adapter in {folder} does not have the shape of the model that is trained: {names}"
        raise UsageError(message, hint="use the layers and the [lora] settings that the adapter was trained with")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(saved[name])


def _token_ids_of(config: Mapping[str, Any], module: str) -> list[int]:
    """Return the tokens whose rows of a module an adapter has, from its configuration."""
    token_ids = config.get("trainable_token_indices") or {}
    return list(token_ids[module] if isinstance(token_ids, dict) else token_ids)


def _load_rows(trained: TokenRows, rows: torch.Tensor, saved_rows: torch.Tensor, token_ids: list[int]) -> None:
    """Copy the saved rows of tokens that are trained; the others are ignored."""
    targets = trained.row_of_token[torch.tensor(token_ids)]
    with torch.no_grad():
        rows[targets[targets >= 0]] = saved_rows.float()[targets >= 0]


def _saved_name(name: str) -> str:
    """Return the name of a trained weight in an adapter's file."""
    return _TRAINING_INFIX.sub(".", name[name.index(_PEFT_PREFIX) :])


def _saved_rows_name(module: str) -> str:
    return f"{_PEFT_PREFIX}{_MODULE_PATHS[module]}.{_ROWS_KEY}"


def write_adapter(folder: Path, objective: TitleLoss, weights: Mapping[str, torch.Tensor], base_name: str) -> None:
    """Write an adapter in PEFT's format, in half precision.

    Args:
        folder: exists; the files in it are replaced.
        objective: with the adapted model, for its configuration.
        weights: from `state.trained_weights`; those that are not in the adapter, such as tau, are left out.
        base_name: name of the base in the configuration.
    """
    config = dict(objective.model.peft_config["default"].to_dict())
    if objective.rows is not None:
        token_ids = list(objective.rows.token_ids)
        config["trainable_token_indices"] = dict.fromkeys(objective.rows.module_names, token_ids)
    config |= {"inference_mode": True, "base_model_name_or_path": base_name}  # not a path on this machine
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    text = json.dumps(config, indent=2, default=str)
    (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")
    saved = {_saved_name(name): tensor.to(torch.float16) for name, tensor in weights.items() if _PEFT_PREFIX in name}
    for module in _MODULE_PATHS:
        rows = weights.get(f"{_ROWS_PREFIX}{module}")
        if rows is not None:
            saved[_saved_rows_name(module)] = rows.to(torch.float16)
    save_file(saved, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
