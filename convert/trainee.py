"""A base with a fresh LoRA adapter, in transformers and peft: what is trained, and how it leaves as an adapter folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import peft
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from genrec_edge.convert.transformers_tokenizer import quiet
from genrec_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.convert.recipe import Recipe

_PEFT_PREFIX = "base_model.model."
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_trainee(folder: Path, recipe: Recipe) -> Any:
    """Return the model of a Hugging Face folder with a new adapter on it; only the adapter is trained, in float32.

    Raises:
        MissingExtraError: a base in 4 bit was asked for, and bitsandbytes is not installed.
    """
    settings: dict[str, Any] = {}
    if recipe.base.load_in_4bit:
        settings["quantization_config"] = _four_bit(recipe)
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_DTYPES[recipe.base.dtype],
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **settings,
        )
    if recipe.base.load_in_4bit:
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.base.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    torch.manual_seed(recipe.seed)
    config = peft.LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,  # type: ignore[arg-type]
        lora_dropout=recipe.lora.dropout,
        target_modules=list(recipe.lora.targets),
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, config, autocast_adapter_dtype=True)
    adapted.train()
    return adapted


def _four_bit(recipe: Recipe) -> Any:
    try:
        import bitsandbytes  # noqa: F401, PLC0415 - only where it is asked for, and only on a GPU
    except ModuleNotFoundError:
        message = "base.load_in_4bit needs bitsandbytes, which is not installed"
        raise MissingExtraError(message, hint="pip install bitsandbytes, or leave the key out") from None
    from transformers import BitsAndBytesConfig  # noqa: PLC0415

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=_DTYPES[recipe.base.dtype]
    )


def write_adapter(folder: Path, model: Any, weights: Mapping[str, torch.Tensor], base_name: str, dtype: str) -> None:
    """Write an adapter as PEFT does, from weights named as in `TitleObjective`.

    Args:
        folder: exists; the files in it are replaced.
        model: the adapted model, for its configuration.
        weights: from `train_state.adapter_weights`; what is no LoRA matrix is left out.
        base_name: what the base is called.
        dtype: "float32" while training goes on, "float16" for what is kept.
    """
    config = dict(model.peft_config["default"].to_dict())
    # Sets come out in any order; a folder of this machine says nothing to others.
    config |= {"inference_mode": True, "base_model_name_or_path": base_name}
    config["target_modules"] = sorted(config["target_modules"])
    text = json.dumps({k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}, indent=2, default=str)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    saved = {
        name[name.index(_PEFT_PREFIX) :].replace(".default.", "."): tensor.to(_DTYPES[dtype])
        for name, tensor in weights.items()
        if "lora_" in name
    }
    save_file(saved, folder / "adapter_model.safetensors", metadata={"format": "pt"})
