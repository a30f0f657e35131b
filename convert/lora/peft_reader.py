"""A LoRA adapter as PEFT saves it: for each tensor of the base, what is added to it or what replaces it.

The names are PEFT's "base_model.model." and the module's name in transformers. Every tensor has its place in the model
and the right shape, or the adapter is refused with a list of those that have not. Source: peft 0.21.2,
utils/save_and_load.py (names), tuners/lora/layer.py (shapes; A and B of an embedding lie transposed).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.config import is_positive_float32
from genrec_edge.convert.checkpoint.safetensors import StoredTensor, read_safetensors, shown
from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT, expected_shapes
from genrec_edge.convert.lora.peft_config import CONFIG_NAME, AdapterConfig, read_adapter_config
from genrec_edge.errors import ModelInvalidError, UsageError, several
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from genrec_edge.convert.checkpoint.config import ModelConfig

WEIGHTS_NAME = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_LORA = re.compile(
    r"(?P<module>.+)\.(?P<part>(lora_[AB](?=.*\.weight)|lora_embedding_[AB]|lora_magnitude_vector))(\.default)?(\.weight)?"
)
_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(\.default)?")
_WHOLE = re.compile(r"(?P<module>.+?)(\.base_layer)?\.(?P<kind>weight|bias)")
_WEIGHT_TYPES = ("F32", "F16", "BF16")
_CHECKED_ELEMENTS = 8 << 20
_MOST_SHOWN = 1000
_MOST_LENGTH = 256
_RESIZED = "the vocabulary was resized"


@dataclass(frozen=True, slots=True)
class Delta:
    """A change of a weight W of shape (out, in) to W + scale * b @ a, or to DoRA's multiple of that.

    Attributes:
        a: (r, in) float32.
        b: (out, r) float32. Of an embedding, out is the vocabulary.
        scale: alpha / r, or alpha / sqrt(r); without the weight of the adapter.
        magnitude: DoRA only: the length that each row of the result has, (out,) float32.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    scale: float
    magnitude: NDArray[np.float32] | None = None

    @property
    def is_zero(self) -> bool:
        """Nothing is added to W."""
        return self.scale == 0 or not self.a.any() or not self.b.any()


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows that take the place of a matrix's own: `values[i]` that of row `token_ids[i]`.

    Attributes:
        token_ids: (n,) int64, all different.
        values: (n, in) float32.
    """

    token_ids: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that fits a model.

    Attributes:
        path: its folder.
        sha256: of the file with its weights.
        weight: how much of it is wanted; 1 is all.
        rank, alpha: as the config has them for modules without a pattern of their own.
        deltas: by the name of the tensor they change.
        replaced: tensors that take the place of the base's, of the same shape: modules that were trained as a whole,
            and the copies of embeddings that PEFT saves unasked. For a model with tied embeddings "lm_head.weight"
            may be among both kinds.
        rows: embeddings, and output matrices, of which some rows are replaced: PEFT's `trainable_token_indices`.
    """

    path: Path
    sha256: str
    weight: float
    rank: int
    alpha: float
    deltas: Mapping[str, Delta]
    replaced: Mapping[str, StoredTensor]
    replaced_rows: Mapping[str, NewRows]


def read_adapter(folder: Path, config: ModelConfig, *, weight: float = 1.0) -> Adapter:
    """Read a PEFT LoRA folder for a model of this config. Read-only; A and B are held in memory.

    Raises:
        UsageError: no such folder, or a weight that means nothing.
        ModelInvalidError: another kind of adapter, or one that does not fit; the message lists everything found.
    """
    folder = Path(folder)
    if not is_positive_float32(abs(weight)):
        message = f"the weight {weight:g} of {folder} would change nothing, or far too much"
        raise UsageError(message, hint="give a number such as 0.5")
    path = _weights_path(folder)
    settings = read_adapter_config(folder / CONFIG_NAME)
    if settings.dora and weight != 1:
        message = f"{folder} is a DoRA adapter, of which {weight:g} times is not defined"
        raise UsageError(message, hint="leave its weight out")
    reader = _TensorPlacer(settings, config)
    for key, tensor in read_safetensors(path).items():
        reader.place(key, tensor)
    deltas = reader.deltas()
    reader.finish()
    if reader.problems:
        raise _misfit(path, reader.problems)
    digest = sha256_file(path)
    return Adapter(folder, digest, weight, settings.rank, settings.alpha, deltas, reader.replaced, reader.replaced_rows)


def _weights_path(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint=f"name a PEFT folder, with {CONFIG_NAME} and {WEIGHTS_NAME}")
    if not (path := folder / WEIGHTS_NAME).exists():
        if (folder / "adapter_model.bin").exists():
            message = f"{folder} holds its weights as pickle (adapter_model.bin), which can run code when it is opened"
            hint = "load and save it with peft on a machine you can lose: that writes safetensors"
            raise ModelInvalidError(message, hint=hint)
        raise ModelInvalidError(f"{folder} has no {WEIGHTS_NAME}", hint="name a folder saved by PEFT")
    return path


def _misfit(path: Path, problems: list[str]) -> ModelInvalidError:
    message = f"{path} does not fit the model: {several(problems, most=_MOST_SHOWN)}"
    hint = "name the base it was trained on"
    if any(_RESIZED in problem for problem in problems):
        hint = "resize the base with transformers (resize_token_embeddings), save it, and name that as the base"
    return ModelInvalidError(message, hint=hint)


class _TensorPlacer:
    """Finds the place of each tensor and collects what is wrong."""

    def __init__(self, settings: AdapterConfig, config: ModelConfig) -> None:
        self.problems: list[str] = []
        self.replaced: dict[str, StoredTensor] = {}
        self.replaced_rows: dict[str, NewRows] = {}
        self._settings = settings
        self._tied = config.tied
        self._shapes = expected_shapes(config)
        self._shapes.setdefault(OUTPUT, self._shapes[EMBEDDING])  # a tied output can be adapted apart
        self._parts: dict[str, dict[str, StoredTensor]] = {}
        self._copies: list[str] = []

    def place(self, key: str, tensor: StoredTensor) -> None:
        """Take a tensor of the file."""
        name = key.removeprefix(_PREFIX)
        if name == key or len(key) > _MOST_LENGTH:
            self.problems.append(f"{shown(key)} is no name that starts with {_PREFIX}")
        elif tensor.dtype not in _WEIGHT_TYPES:
            self.problems.append(f"{shown(key)} is of type {tensor.dtype}, not one of {', '.join(_WEIGHT_TYPES)}")
        elif match := _LORA.fullmatch(name):
            parts = self._parts.setdefault(match["module"], {})
            if match["part"] in parts:
                self.problems.append(f"{shown(match['module'])} has {match['part']} twice")
            parts[match["part"]] = tensor
        elif match := _ROWS.fullmatch(name):
            self._place_rows(f"{match['module']}.weight", tensor)
        elif match := _WHOLE.fullmatch(name):
            self._place_whole(key, tensor, match)
        else:
            self.problems.append(f"{shown(key)} is no part of a LoRA")

    def _place_whole(self, key: str, tensor: StoredTensor, match: re.Match[str]) -> None:
        name = f"{match['module']}.{match['kind']}"
        saved = self._settings.is_saved(match["module"])
        unasked = name in {EMBEDDING, OUTPUT} and not saved  # PEFT's copy of the base's own
        if name not in self._shapes:
            self.problems.append(f"{shown(key)} is no tensor of the model")
        elif not (saved or unasked or (match["kind"] == "bias" and self._settings.biases)):
            self.problems.append(f"{shown(key)} belongs to no module of modules_to_save")
        elif name in self.replaced:
            self.problems.append(f"{shown(key)} stands there twice")
        elif self._is_sound(tensor, self._shapes[name]):
            self.replaced[name] = tensor
            if unasked:
                self._copies.append(name)

    def _place_rows(self, name: str, tensor: StoredTensor) -> None:
        key = tensor.name
        ends = [end for end in self._settings.tokens if name.removesuffix(".weight").endswith(end)]
        if name not in {EMBEDDING, OUTPUT}:
            self.problems.append(f"{shown(key)} belongs to neither the embedding nor the output matrix")
        elif not ends:
            self.problems.append(f"{shown(key)} belongs to no module of trainable_token_indices")
        elif name in self.replaced_rows:
            self.problems.append(f"{shown(key)} stands there twice")
        else:
            token_ids = np.array(self._settings.tokens[ends[0]], np.int64)
            n_tokens, width = self._shapes[name]
            if len(token_ids) and token_ids.max() >= n_tokens:
                self.problems.append(f"trainable_token_indices has {token_ids.max()}, and {name} {n_tokens} rows")
            elif self._is_sound(tensor, (len(token_ids), width)):
                self.replaced_rows[name] = NewRows(token_ids, tensor.read_all())

    def deltas(self) -> dict[str, Delta]:
        """Return the pairs of A and B by the name of the tensor they change."""
        found = {}
        for module, parts in self._parts.items():
            name = f"{module}.weight"
            if len(self._shapes.get(name, ())) != 2:
                self.problems.append(f"{shown(module)} is no linear layer or embedding of the model")
            elif (delta := self._delta(module, parts, self._shapes[name])) is not None:
                found[name] = delta
        return found

    def _delta(self, module: str, parts: Mapping[str, StoredTensor], shape: tuple[int, ...]) -> Delta | None:
        out, into = shape
        embeds = f"{module}.weight" == EMBEDDING
        rank = self._settings.rank_of(module)
        a, b = ("lora_embedding_A", "lora_embedding_B") if embeds else ("lora_A", "lora_B")
        shapes: dict[str, tuple[int, ...]] = {a: (rank, into), b: (out, rank)}
        if embeds:
            shapes = {a: (rank, out), b: (into, rank)}
        if self._settings.dora:
            shapes["lora_magnitude_vector"] = (into if embeds else out,)
        wrong = [f"no {part}" for part in shapes.keys() - parts.keys()]
        wrong += [f"a {part} too many" for part in parts.keys() - shapes.keys()]
        if wrong:
            self.problems.append(f"{module} has {' and '.join(sorted(wrong))}")
            return None
        sound = [self._is_sound(parts[part], shapes[part]) for part in shapes]  # all are looked at, and told
        if not all(sound):
            return None
        if embeds and self._settings.dora:
            self.problems.append(f"{module} is an embedding with DoRA, which is not supported")
            return None
        magnitude = parts["lora_magnitude_vector"].read_all() if self._settings.dora else None
        first, second = parts[a].read_all(), parts[b].read_all()
        if embeds:
            first, second = np.ascontiguousarray(second.T), np.ascontiguousarray(first.T)
        return Delta(first, second, self._settings.scale_of(module), magnitude)

    def _is_sound(self, tensor: StoredTensor, shape: tuple[int, ...]) -> bool:
        """Check shape and values, and say what is wrong."""
        key = tensor.name
        if tensor.shape != shape:
            sides = set(zip(shape, tensor.shape, strict=False))
            resized = {wanted for wanted, found in sides if wanted != found} == {self._shapes[EMBEDDING][0]}
            reason = f": {_RESIZED}" if resized else ""
            self.problems.append(f"{shown(key)} has the shape {tensor.shape}, not {shape}{reason}")
            return False
        step = max(1, _CHECKED_ELEMENTS * shape[0] // math.prod(shape))
        chunks = (tensor.read(slice(start, start + step)) for start in range(0, shape[0], step))
        if not all(np.isfinite(chunk).all() for chunk in chunks):
            self.problems.append(f"{shown(key)} holds values that are no finite numbers")
            return False
        return True

    def finish(self) -> None:
        """Say which modules should have tensors and have none, as in a file that was saved by one process of many."""
        if self._tied:
            for name in self._copies:  # of the one matrix that is both
                self.replaced.setdefault(OUTPUT if name == EMBEDDING else EMBEDDING, self.replaced[name])
            if (
                EMBEDDING in self.replaced_rows
            ):  # PEFT lets the output matrix follow the embedding, but not the other way round
                self.replaced_rows.setdefault(OUTPUT, self.replaced_rows[EMBEDDING])
        modules = [name.removesuffix(".weight") for name, shape in self._shapes.items() if len(shape) == 2]
        missing = [m for m in modules if self._settings.is_target(m) and m not in self._parts]
        self.problems += [f"{module} has no A and B, and target_modules names it" for module in missing]
        for end in self._settings.saved:
            if not any(name.rpartition(".")[0].endswith(end) for name in self.replaced):
                self.problems.append(f"{shown(end)} of modules_to_save has no tensor")
        for end, token_ids in self._settings.tokens.items():
            if token_ids and not any(name.removesuffix(".weight").endswith(end) for name in self.replaced_rows):
                self.problems.append(f"{shown(end)} of trainable_token_indices has no tensor")
        if not self._parts and not self.replaced and not self.replaced_rows and not self.problems:
            self.problems.append("it holds no tensors")
