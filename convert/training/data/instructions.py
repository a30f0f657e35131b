"""Windows of histories -> instructions, each in a form drawn by the recipe's weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genrec_edge.convert.training.data import instruction_forms
from genrec_edge.convert.training.data.sequences import titles_example
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES
from genrec_edge.decoding import prompts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from genrec_edge.convert.training.data.sequences import Example
    from genrec_edge.convert.training.data.windows import Window
    from genrec_edge.datasets.item_facts import ItemFacts


class _Form(Protocol):
    def __call__(self, window: Window, item_facts: ItemFacts, rng: np.random.Generator) -> Example | None: ...


FORMS: Mapping[str, _Form] = {
    "history": instruction_forms.history,
    "taste": instruction_forms.taste,
    "search": instruction_forms.search,
    "personal": instruction_forms.personal,
    "judge": instruction_forms.judge,
    "compare": instruction_forms.compare,
    "describe": instruction_forms.describe,
    "queries": instruction_forms.queries,
    "templates": instruction_forms.templates,
}
"""The forms by their names in a recipe."""
_STREAM = 7
"""Makes these draws differ from those of the windows, which are seeded with the same seed and step."""


class InstructionSampler:
    """Turns windows into examples, in a form drawn for each.

    Args:
        item_facts: facts of the data set's items.
        forms: weight of each form, by the names of `FORMS`.
        seed: seed of all draws.
    """

    def __init__(self, item_facts: ItemFacts, forms: Mapping[str, float], seed: int) -> None:
        self._item_facts = item_facts
        self._names = tuple(forms)
        weights = np.array([forms[name] for name in self._names])
        self._probabilities = weights / weights.sum()
        self._seed = seed

    def texts(self) -> Iterator[str]:
        """Yield texts that contain every token that words in an example can have, with their leading spaces."""
        parts: list[prompts.Part[int]] = [*prompts.before_history("x"), *prompts.after_history("x", {"": "x"})]
        parts += [*prompts.pointwise(0), *prompts.pairwise(0, 0), *prompts.describing(), *prompts.asking_for(0)]
        yield from (part.mark for part in parts if isinstance(part, prompts.PromptLine))
        yield from (prompts.YES, prompts.NO, ",", ";")
        yield from (re.sub(r"{\w+}", "", template.text) for template in TEMPLATES)
        for fact in self._item_facts.shared():  # "Jr.," can be one token, not those of "Jr." and ","
            yield from (f" {fact.value}{end}" for end in ("", ",", ";"))
        yield from (f" {sentence}" for sentences in VAGUE_PHRASES.values() for sentence in sentences)

    def examples(self, windows: Sequence[Window], step: int) -> list[Example]:
        """Return an example for each window of a step; its titles alone if it does not suit the form drawn."""
        rng = np.random.default_rng([self._seed, step, _STREAM])
        drawn = rng.choice(len(self._names), len(windows), p=self._probabilities)
        return [
            FORMS[self._names[form]](window, self._item_facts, rng) or titles_example(window)
            for window, form in zip(windows, drawn.tolist(), strict=True)
        ]
