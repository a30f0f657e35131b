"""Runs a Hugging Face checkpoint with transformers in float32, as the reference for the logits of a GGUF."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

from genrec_edge.convert.verification.transformers_tokenizer import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class TransformersModel:
    """A loaded checkpoint with float32 weights in memory. Uses no network, no code of the folder, and no pickles.

    Raises any exception of transformers for a folder that it cannot read.
    """

    def __init__(self, folder: Path, n_threads: int) -> None:
        with quiet():
            self._model: Any = AutoModelForCausalLM.from_pretrained(  # returns it in eval mode
                folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        torch.set_num_threads(n_threads)

    def logits(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits after each token, (n, n_vocab) float32."""
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()
        return logits

    def close(self) -> None:
        """Free the weights; the model cannot be used afterwards."""
        self._model = None
        gc.collect()  # modules have reference cycles
