"""Checks a recipe whose values have the right types: ranges, and settings that contradict each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genrec_edge.convert.checkpoint.layers import parse_layers
from genrec_edge.convert.training.recipe import FORM_NAMES, LORA_TARGETS
from genrec_edge.decoding.prompts import FORMS, LAYOUTS
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.training.recipe import Recipe

_MAX_SHOWN = 60
"""Characters of unknown names shown in a message."""


def find_faults(recipe: Recipe) -> list[str]:
    """Return a message for each fault of a recipe."""
    return [
        *_range_faults(recipe),
        *_batch_faults(recipe),
        *_module_faults(recipe),
        *_form_faults(recipe),
        *_objective_faults(recipe),
    ]


def _range_faults(recipe: Recipe) -> list[str]:
    data, optimizer, lora, validation = recipe.data, recipe.optimizer, recipe.lora, recipe.validation
    ranges: list[tuple[str, float, float, float]] = [
        ("seed", recipe.seed, 0, 2**31),
        ("checkpoint_every", recipe.checkpoint_every, 1, 10**9),
        ("data.min_rating", data.min_rating, -math.inf, 10**9),
        ("data.min_count", data.min_count, 0, 10**6),
        ("data.window", data.window, 2, 4096),
        ("data.drop", data.drop, 0, 0.45),
        ("objective.distill", recipe.objective.distill, 0, 1),
        ("lora.r", lora.r, 1, 1024),
        ("lora.alpha", lora.alpha, 1e-6, 1e6),
        ("lora.token_titles", lora.token_titles, 1, 10**9),
        ("lora.dropout", lora.dropout, 0, 0.99),
        ("optimizer.lr", optimizer.lr, 1e-9, 10),
        ("optimizer.warmup", optimizer.warmup, 0, 10**9),
        ("optimizer.weight_decay", optimizer.weight_decay, 0, 10),
        ("optimizer.clip", optimizer.clip, 1e-6, 1e6),
        ("optimizer.batch", optimizer.batch, 1, 10**6),
        ("optimizer.micro_batch", optimizer.micro_batch, 1, optimizer.batch),
        ("optimizer.epochs", optimizer.epochs, 1e-6, 10**6),
        ("validation.users", validation.users, 1, 10**9),
        ("validation.every", validation.every, 1e-6, 10**6),
        ("validation.patience", validation.patience, 1, 10**9),
    ]
    return [
        f"{name} = {value:g} is not in {low:g}..{high:g}"
        for name, value, low, high in ranges
        if not low <= value <= high
    ]


def _batch_faults(recipe: Recipe) -> list[str]:
    batch, micro_batch = recipe.optimizer.batch, recipe.optimizer.micro_batch
    if micro_batch and batch % micro_batch:
        return [f"optimizer.batch = {batch} is not a multiple of optimizer.micro_batch = {micro_batch}"]
    return []


def _module_faults(recipe: Recipe) -> list[str]:
    faults = []
    if recipe.base.layers:
        try:
            parse_layers(recipe.base.layers)
        except UsageError as e:
            faults.append(e.message.replace("`layers`", "base.layers"))
    if not recipe.lora.targets:
        faults.append("lora.targets is empty; an adapter needs at least one module")
    if unknown := sorted(set(recipe.lora.targets) - set(LORA_TARGETS)):
        faults.append(f"lora.targets has {', '.join(unknown)[:_MAX_SHOWN]}; known: {', '.join(LORA_TARGETS)}")
    return faults


def _form_faults(recipe: Recipe) -> list[str]:
    faults = []
    if unknown := sorted(set(recipe.forms) - set(FORM_NAMES)):
        faults.append(f"forms has {', '.join(unknown)[:_MAX_SHOWN]}; known: {', '.join(FORM_NAMES)}")
    weights = recipe.forms.values()
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        faults.append("forms: the weights must be 0 or more, and at least one above 0")
    if set(recipe.forms) != {"history"} and (recipe.prompt != FORMS or recipe.data.targets != "all"):
        faults.append(f'forms other than "history" need prompt = "{FORMS}" and data.targets = "all"')
    return faults


def _objective_faults(recipe: Recipe) -> list[str]:
    faults = []
    if recipe.objective.kind == "vocabulary" and recipe.objective.distill:
        faults.append('objective.distill needs objective.kind = "catalog" or "residual"')
    if recipe.objective.kind == "vocabulary":
        if recipe.objective.teacher != "sequence":
            faults.append(
                f'objective.teacher = "{recipe.objective.teacher}" needs objective.kind = "catalog" or "residual"'
            )
        if recipe.objective.offset == "week":
            faults.append('objective.offset = "week" needs objective.kind = "catalog" or "residual"')
    if LAYOUTS[recipe.prompt].tail and recipe.data.targets == "all":
        faults.append(f'prompt = "{recipe.prompt}" has one target per sequence: it needs data.targets = "last"')
    return faults
