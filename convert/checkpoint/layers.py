"""Keeps some layers of a checkpoint, in order: a shallower base for training."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.config import MAX_LAYERS
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.convert.checkpoint.types import Checkpoint

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse_layers(text: str) -> tuple[int, ...]:
    """Return the layers of a list of numbers and ranges such as "0-7,28,29".

    Raises:
        UsageError: `text` is not such a list, or not in rising order.
    """
    layers: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        numbers = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not numbers or (layers and numbers[0] <= layers[-1]):
            message = f"`layers` is {text!r}: {part.strip()!r} is not a layer or range above the ones before it"
            raise UsageError(message, hint="give layers from 0 in rising order, such as 0-7,28,29")
        layers += numbers
    return tuple(layers)


def format_layers(layers: Sequence[int]) -> str:
    """Return layers as text that `parse_layers` reads, such as "0-7,28-29"."""
    ranges: list[list[int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def recorded_layers(text: object, n_original: object, n_layers: int) -> tuple[tuple[int, ...], int]:
    """Return the layers a model of `n_layers` has and the number of layers of the original it was cut from.

    `text` and `n_original` are what its file records. Where they are missing or do not match `n_layers`, the model
    counts as complete.
    """
    try:
        layers = parse_layers(text) if isinstance(text, str) else ()
    except UsageError:
        layers = ()
    if len(layers) == n_layers and isinstance(n_original, int) and layers[-1] < n_original <= MAX_LAYERS:
        return layers, n_original
    return tuple(range(n_layers)), n_layers


def keep_layers(checkpoint: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """Return the checkpoint with only these layers, renumbered from 0.

    Raises:
        UsageError: the checkpoint does not have one of the layers.
    """
    config = checkpoint.config
    if layers[-1] >= config.n_layers:
        message = f"`layers` includes layer {layers[-1]}, and {checkpoint.path} has layers 0 to {config.n_layers - 1}"
        raise UsageError(message, hint=f"give layers from 0 to {config.n_layers - 1}")
    tensors = {}
    new_number = {old: new for new, old in enumerate(layers)}
    for name, tensor in checkpoint.tensors.items():
        prefix, is_layer, rest = name.partition("model.layers.")
        number, _, part = rest.partition(".")
        if not is_layer:
            tensors[name] = tensor
        elif int(number) in new_number:
            kept = f"{prefix}{is_layer}{new_number[int(number)]}.{part}"
            tensors[kept] = replace(tensor, name=kept)
    kept_layers = tuple(config.layers[layer] for layer in layers)
    return replace(checkpoint, config=replace(config, layers=kept_layers), tensors=tensors)
