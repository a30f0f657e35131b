"""A shallower model: some layers of a checkpoint, in order. The start of an edge-sized base that is then trained."""

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
    """Return the layers that "0-7,28,29" names.

    Raises:
        UsageError: it is not a list of numbers and ranges, each larger than the one before.
    """
    layers: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if last < first or (layers and first <= layers[-1]):
            message = f"--keep-layers {text!r}: {part.strip()!r} is not a layer or range beyond the ones before it"
            raise UsageError(message, hint="name layers from 0 in rising order, such as 0-7,28,29")
        layers += range(first, last + 1)
    return tuple(layers)


def format_layers(layers: Sequence[int]) -> str:
    """Return layers as `parse_layers` reads them."""
    ranges: list[list[int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def recorded_layers(text: object, of: object, n_layers: int) -> tuple[tuple[int, ...], int]:
    """Return which layers of how many a model of `n_layers` says it has; its own if it says nothing that fits."""
    try:
        layers = parse_layers(text) if isinstance(text, str) else ()
    except UsageError:
        layers = ()
    if len(layers) == n_layers and isinstance(of, int) and layers[-1] < of <= MAX_LAYERS:
        return layers, of
    return tuple(range(n_layers)), n_layers


def keep_layers(checkpoint: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """Return the checkpoint with these layers alone, numbered anew.

    Raises:
        UsageError: it has no such layer.
    """
    config = checkpoint.config
    if layers[-1] >= config.n_layers:
        message = (
            f"--keep-layers names layer {layers[-1]}, and {checkpoint.path} has {config.n_layers} (0 is the first)"
        )
        raise UsageError(message, hint=f"name layers from 0 to {config.n_layers - 1}")
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
