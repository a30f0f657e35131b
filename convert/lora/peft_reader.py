"""Reads a LoRA adapter as PEFT saves it: for each tensor of the base, what is added to it or what replaces it.

What was stored as a difference to the base (`deltas.py`) is added to it here, so that nobody else has to know.

Tensor names are PEFT's "base_model.model." and the module's name in transformers. Every tensor must belong to the model
and have the right shape; otherwise the adapter is refused with a list of all problems. Source: peft 0.21.2,
utils/save_and_load.py (names), tuners/lora/layer.py (shapes; A and B of an embedding lie transposed).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.checkpoint.config import is_positive_float32
from genrec_edge.convert.checkpoint.safetensors import StoredTensor, quoted
from genrec_edge.convert.checkpoint.tensor_names import EMBEDDING, OUTPUT, expected_shapes
from genrec_edge.convert.checkpoint.types import Checkpoint, Tensor
from genrec_edge.convert.lora.adapter_file import open_weights, weights_path
from genrec_edge.convert.lora.deltas import Difference
from genrec_edge.convert.lora.peft_config import CONFIG_NAME, AdapterConfig, read_adapter_config
from genrec_edge.errors import ModelInvalidError, UsageError, several
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_PREFIX = "base_model.model."
_LORA = re.compile(
    r"(?P<module>.+)\.(?P<part>(lora_[AB](?=.*\.weight)|lora_embedding_[AB]|lora_magnitude_vector))(\.default)?(\.weight)?"
)
_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(\.default)?")
_WHOLE = re.compile(r"(?P<module>.+?)(\.base_layer)?\.(?P<kind>weight|bias)")
_WEIGHT_TYPES = ("F32", "F16", "BF16")
_CHECKED_ELEMENTS = 8 << 20
_MAX_SHOWN = 1000
_MAX_NAME_LENGTH = 256
_RESIZED = "the vocabulary was resized"
_EMPTY = "holds no numbers"
_NO_PAIR = "and has no A and B"


@dataclass(frozen=True, slots=True)
class Delta:
    """The change of a weight W of shape (out, in) to W + scale * b @ a, which DoRA rescales by row.

    Attributes:
        a: (r, in) float32.
        b: (out, r) float32. For an embedding, out is the vocabulary size.
        scale: alpha / r, or alpha / sqrt(r) for rsLoRA; without the weight of the adapter.
        magnitude: DoRA only: the norm of each row of the result, (out,) float32.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    scale: float
    magnitude: NDArray[np.float32] | None = None

    @property
    def is_zero(self) -> bool:
        """Whether nothing is added to W."""
        return self.scale == 0 or not self.a.any() or not self.b.any()


@dataclass(frozen=True, slots=True)
class NewRows:
    """New rows of a matrix: `values[i]` replaces row `token_ids[i]`.

    Attributes:
        key: the name of their tensor in the adapter.
        token_ids: (n,) int64, all different.
        values: (n, in) float32.
    """

    key: str
    token_ids: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that matches a model.

    Attributes:
        path: its folder.
        sha256: of the file with its weights.
        weight: the factor with which it is merged.
        rank, alpha: the config's values for modules without a pattern.
        deltas: by the name of the tensor they change.
        replaced: tensors that replace those of the base, of the same shape: modules that were trained as a whole, and
            copies of embeddings that PEFT saves by itself. With tied embeddings "lm_head.weight" can be in both. They
            are called as in the adapter.
        replaced_rows: new rows of embeddings and output matrices, by name: PEFT's `trainable_token_indices`.
    """

    path: Path
    sha256: str
    weight: float
    rank: int
    alpha: float
    deltas: Mapping[str, Delta]
    replaced: Mapping[str, Tensor]
    replaced_rows: Mapping[str, NewRows]


def read_adapter(folder: Path, base: Checkpoint, *, weight: float = 1.0) -> Adapter:
    """Read a PEFT LoRA folder, packed or not, for a base. Read-only; A and B are kept in memory.

    Raises:
        UsageError: the folder does not exist, or `weight` is zero, not finite or too large.
        ModelInvalidError: another kind of adapter, one that was packed with another base, or one that does not match
            the model; the message lists all problems.
    """
    folder = Path(folder)
    if not is_positive_float32(abs(weight)):
        message = f"the weight {weight:g} of {folder} must not be 0, and be below 1e30 in size"
        raise UsageError(message, hint="give a number such as 0.5")
    path = weights_path(folder)
    settings = read_adapter_config(folder / CONFIG_NAME)
    if settings.use_dora and weight != 1:
        message = f"{folder} is a DoRA adapter, which the weight {weight:g} cannot scale"
        raise UsageError(message, hint="leave its weight out")
    assigner = _TensorAssigner(settings, base)
    for key, tensor in open_weights(path, base).items():
        assigner.assign(key, tensor)
    deltas = assigner.deltas()
    assigner.finish()
    if assigner.problems:
        raise _mismatch_error(path, assigner.problems)
    digest = sha256_file(path)
    return Adapter(
        folder, digest, weight, settings.rank, settings.alpha, deltas, assigner.replaced, assigner.replaced_rows
    )


def base_tensors(base: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of a base that an adapter can change: with the output matrix, also where it is tied."""
    tensors = dict(base.tensors)
    if base.config.tied:
        tensors[OUTPUT] = replace(tensors[EMBEDDING], name=OUTPUT)
    return tensors


def _mismatch_error(path: Path, problems: list[str]) -> ModelInvalidError:
    message = f"{path} does not match the model: {several(problems, most=_MAX_SHOWN)}"
    hint = "give the base that it was trained on"
    if any(_EMPTY in problem or _NO_PAIR in problem for problem in problems):
        gather = (
            "if the model was spread over several processes (DeepSpeed ZeRO-3, FSDP), only a part was saved: gather its"
            " weights when the adapter is saved"
        )
        hint = gather if any(_EMPTY in problem for problem in problems) else f"{hint}; {gather}"
    elif any(_RESIZED in problem for problem in problems):
        hint = "resize the base with transformers (resize_token_embeddings), save it, and give that as the base"
    return ModelInvalidError(message, hint=hint)


def _as_it_is(stored: StoredTensor) -> Tensor:
    return Tensor(stored.name, stored.shape, stored.dtype, stored.read)


class _TensorAssigner:
    """Assigns the tensors of an adapter to those of the model, and collects the problems."""

    def __init__(self, settings: AdapterConfig, base: Checkpoint) -> None:
        self.problems: list[str] = []
        self.replaced: dict[str, Tensor] = {}
        self.replaced_rows: dict[str, NewRows] = {}
        self._settings = settings
        self._base = base_tensors(base)
        self._tied = base.config.tied
        self._shapes = expected_shapes(base.config)
        self._shapes.setdefault(OUTPUT, self._shapes[EMBEDDING])  # a tied output matrix can have an adapter of its own
        self._parts: dict[str, dict[str, Tensor]] = {}
        self._copies: list[str] = []

    def assign(self, key: str, tensor: StoredTensor | Difference) -> None:
        """Assign one tensor of the file."""
        name = key.removeprefix(_PREFIX)
        if name == key or len(key) > _MAX_NAME_LENGTH:
            self.problems.append(f"{quoted(key)} does not start with {_PREFIX}")
        elif isinstance(tensor, StoredTensor) and tensor.dtype not in _WEIGHT_TYPES:
            self.problems.append(f"{quoted(key)} is of type {tensor.dtype}, not one of {', '.join(_WEIGHT_TYPES)}")
        elif match := _LORA.fullmatch(name):
            self._assign_part(match["module"], match["part"], tensor)
        elif match := _ROWS.fullmatch(name):
            self._assign_rows(f"{match['module']}.weight", tensor)
        elif match := _WHOLE.fullmatch(name):
            self._assign_whole(key, tensor, match)
        else:
            self.problems.append(f"{quoted(key)} is not part of a LoRA")

    def _assign_part(self, module: str, part: str, tensor: StoredTensor | Difference) -> None:
        parts = self._parts.setdefault(module, {})
        if part in parts:
            self.problems.append(f"{quoted(module)} has {part} twice")
        if isinstance(tensor, Difference):
            self.problems.append(f"{quoted(module)} has {part} as a difference, and the base has none")
        else:
            parts[part] = _as_it_is(tensor)

    def _assign_whole(self, key: str, tensor: StoredTensor | Difference, match: re.Match[str]) -> None:
        name = f"{match['module']}.{match['kind']}"
        saved = self._settings.is_saved(match["module"])
        is_copy = name in {EMBEDDING, OUTPUT} and not saved  # PEFT saves the embeddings of the base by itself
        if name not in self._shapes:
            self.problems.append(f"{quoted(key)} is not a tensor of the model")
        elif not (saved or is_copy or (match["kind"] == "bias" and self._settings.trains_biases)):
            self.problems.append(f"{quoted(key)} does not belong to a module of modules_to_save")
        elif name in self.replaced:
            self.problems.append(f"{quoted(key)} occurs twice")
        else:
            whole = self._weights(name, tensor)
            if self._is_valid(whole, self._shapes[name]):
                self.replaced[name] = whole
                if is_copy:
                    self._copies.append(name)

    def _assign_rows(self, name: str, tensor: StoredTensor | Difference) -> None:
        key = tensor.name
        module = name.removesuffix(".weight")
        suffixes = [suffix for suffix in self._settings.trainable_token_indices if module.endswith(suffix)]
        if name not in {EMBEDDING, OUTPUT}:
            self.problems.append(f"{quoted(key)} belongs to neither the embedding nor the output matrix")
        elif not suffixes:
            self.problems.append(f"{quoted(key)} does not belong to a module of trainable_token_indices")
        elif name in self.replaced_rows:
            self.problems.append(f"{quoted(key)} occurs twice")
        else:
            token_ids = np.array(self._settings.trainable_token_indices[suffixes[0]], np.int64)
            n_tokens, width = self._shapes[name]
            if len(token_ids) and token_ids.max() >= n_tokens:
                self.problems.append(f"trainable_token_indices has {token_ids.max()}, and {name} has {n_tokens} rows")
                return
            rows = self._weights(name, tensor, token_ids)
            if self._is_valid(rows, (len(token_ids), width)):
                self.replaced_rows[name] = NewRows(key, token_ids, rows.read_all())

    def _weights(
        self, name: str, tensor: StoredTensor | Difference, token_ids: NDArray[np.int64] | None = None
    ) -> Tensor:
        """Return what a tensor of the file puts into the place of one of the model, or of some rows of it."""
        return tensor.added_to(self._base[name], token_ids) if isinstance(tensor, Difference) else _as_it_is(tensor)

    def deltas(self) -> dict[str, Delta]:
        """Return the pairs of A and B by the name of the tensor they change."""
        found = {}
        for module, parts in self._parts.items():
            name = f"{module}.weight"
            if len(self._shapes.get(name, ())) != 2:
                self.problems.append(f"{quoted(module)} is not a linear layer or embedding of the model")
            elif (delta := self._delta(module, parts, self._shapes[name])) is not None:
                found[name] = delta
        return found

    def _delta(self, module: str, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Delta | None:
        n_out, n_in = shape
        is_embedding = f"{module}.weight" == EMBEDDING
        rank = self._settings.rank_of(module)
        a, b = ("lora_embedding_A", "lora_embedding_B") if is_embedding else ("lora_A", "lora_B")
        shapes: dict[str, tuple[int, ...]] = {a: (rank, n_in), b: (n_out, rank)}
        if is_embedding:
            shapes = {a: (rank, n_out), b: (n_in, rank)}
        if self._settings.use_dora:
            shapes["lora_magnitude_vector"] = (n_in if is_embedding else n_out,)
        wrong = [f"no {part}" for part in shapes.keys() - parts.keys()]
        wrong += [f"an unexpected {part}" for part in parts.keys() - shapes.keys()]
        if wrong:
            self.problems.append(f"{module} has {' and '.join(sorted(wrong))}")
            return None
        valid = [self._is_valid(parts[part], shapes[part]) for part in shapes]  # checks all, to report all
        if not all(valid):
            return None
        if is_embedding and self._settings.use_dora:
            self.problems.append(f"{module} is an embedding with DoRA, which is not supported")
            return None
        magnitude = parts["lora_magnitude_vector"].read_all() if self._settings.use_dora else None
        matrix_a, matrix_b = parts[a].read_all(), parts[b].read_all()
        if is_embedding:
            matrix_a, matrix_b = np.ascontiguousarray(matrix_b.T), np.ascontiguousarray(matrix_a.T)
        return Delta(matrix_a, matrix_b, self._settings.scale_of(module), magnitude)

    def _is_valid(self, tensor: Tensor, shape: tuple[int, ...]) -> bool:
        """Check shape and values; record a problem and return False if they are wrong."""
        key = tensor.name
        if 0 in tensor.shape:
            self.problems.append(f"{quoted(key)} {_EMPTY}: it has the shape {tensor.shape}, not {shape}")
            return False
        if tensor.shape != shape:
            sizes = zip(shape, tensor.shape, strict=False)
            resized = {expected for expected, found in sizes if expected != found} == {self._shapes[EMBEDDING][0]}
            reason = f": {_RESIZED}" if resized else ""
            self.problems.append(f"{quoted(key)} has the shape {tensor.shape}, not {shape}{reason}")
            return False
        step = max(1, _CHECKED_ELEMENTS * shape[0] // math.prod(shape))
        chunks = (tensor.read(slice(start, start + step)) for start in range(0, shape[0], step))
        if not all(np.isfinite(chunk).all() for chunk in chunks):
            self.problems.append(f"{quoted(key)} has values that are not finite")
            return False
        return True

    def finish(self) -> None:
        """Complete tied embeddings, and report modules without tensors, as in the file of one process of many."""
        if self._tied:
            for name in self._copies:  # the copy is of both
                self.replaced.setdefault(OUTPUT if name == EMBEDDING else EMBEDDING, self.replaced[name])
            if EMBEDDING in self.replaced_rows:  # in PEFT the output matrix follows the embedding, not vice versa
                self.replaced_rows.setdefault(OUTPUT, self.replaced_rows[EMBEDDING])
        modules = [name.removesuffix(".weight") for name, shape in self._shapes.items() if len(shape) == 2]
        missing = [module for module in modules if self._settings.is_target(module) and module not in self._parts]
        self.problems += [f"{module} is in target_modules, {_NO_PAIR}" for module in missing]
        for suffix in self._settings.modules_to_save:
            if not any(name.rpartition(".")[0].endswith(suffix) for name in self.replaced):
                self.problems.append(f"{quoted(suffix)} of modules_to_save has no tensor")
        for suffix, token_ids in self._settings.trainable_token_indices.items():
            if token_ids and not any(name.removesuffix(".weight").endswith(suffix) for name in self.replaced_rows):
                self.problems.append(f"{quoted(suffix)} of trainable_token_indices has no tensor")
        if not self._parts and not self.replaced and not self.replaced_rows and not self.problems:
            self.problems.append("it has no tensors")
