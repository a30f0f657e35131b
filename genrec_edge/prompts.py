"""The text around a history, and how titles are joined to it: one layout for training and serving.

A prompt is the instruction, then one title a line, oldest first. It is put together from token ids: every title is
tokenised alone and followed by the end-of-title token, so a title has the same ids wherever it stands, a title cannot
break out of its line, and a longer history only appends to the prompt. The model's manifest records `VERSION`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = "titles-1"
"""The layout of models that do not say which one they were tuned with."""
INSTRUCTION = "# The most famous films ever made\n\n"
"""Of 32 wordings the one with which the untuned SmolLM2-135M-Instruct needs the fewest evaluations for an exact
top 10 after 20 films of MovieLens users; wordings that speak of a person and a taste need up to twice as many."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The texts before the titles and between them and the answer."""

    head: str
    tail: str = ""


LAYOUTS: Mapping[str, Layout] = {
    VERSION: Layout(INSTRUCTION),
    "genrec-1": Layout(
        "Below is a task and what it is about. Write the answer.\n\n### Task:\nName the film that this person will "
        "watch next.\n\n### Films watched so far, the latest last:\n",
        "\n### Answer:\n",
    ),
}
"""Known layouts by version. "genrec-1" has the parts of GenRec's prompt (task, input, response), one title a line."""


def assemble(
    head_ids: Sequence[int],
    title_ids: Sequence[Sequence[int]],
    *,
    end_id: int,
    max_tokens: int,
    tail_ids: Sequence[int] = (),
) -> tuple[list[int], int]:
    """Return the prompt's token ids and how many of the oldest titles were left out to fit `max_tokens`.

    Raises:
        UsageError: not even the newest title fits.
    """
    room = max_tokens - len(head_ids) - len(tail_ids)
    kept = len(title_ids)
    for ids in reversed(title_ids):
        if len(ids) + 1 > room:
            break
        room -= len(ids) + 1
        kept -= 1
    if room < 0 or (title_ids and kept == len(title_ids)):
        raise UsageError(
            f"the context leaves {max_tokens} tokens for the prompt, too few for one title",
            hint="give a larger --ctx",
        )
    prompt = list(head_ids)
    for ids in title_ids[kept:]:
        prompt += [*ids, end_id]
    return [*prompt, *tail_ids], kept
