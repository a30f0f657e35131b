"""llama-cpp-python's own class, which our engine is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import llama_cpp
import llama_cpp.llama_cpp as low_level

from genrec_edge.engine.bindings import is_built_for_amx

if TYPE_CHECKING:
    from pathlib import Path


def open_llama(path: Path, **options: Any) -> llama_cpp.Llama:
    """Return an open `llama_cpp.Llama`, without the AMX kernels that our engine leaves out: they may crash."""
    params = low_level.llama_model_default_params()
    params.use_extra_bufts = not is_built_for_amx()
    with patch.object(low_level, "llama_model_default_params", lambda: params):
        return llama_cpp.Llama(str(path), verbose=False, **options)
