"""The text around a history, and how titles are joined to it: one layout for training and serving.

A prompt is a heading and lines. Titles stand one a line, oldest first; what else there is to say stands on lines of its
own that begin with "##", which no title does:

    # The most famous films ever made

    ## Taste: what the user likes, in words                     a preference (P2)
    Toy Story                                                   the history (P1)
    ## Now: Sunday evening, at home                             the context
    ## Wanted: Comedy, 1990s                                    the intention (I1, I2)

and then what the task asks for: a title (matching and reranking); "## Next:", a title, "## Enjoyed:" and yes or no
(pointwise); "## Either of these:", two titles, "## Rather:" and one of them (pairwise). Turned around, "## Taste:"
after a history asks for words, as does "## Film:", a title and "## Asked for as:".

It is put together from token ids: every title is tokenised alone and followed by the end-of-title token, so a title has
the same ids wherever it stands, neither a title nor a sentence can break out of its line, and a longer history only
appends to the prompt. The model's manifest records the version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from genrec_edge.catalog.titles import clean
from genrec_edge.errors import UsageError
from genrec_edge.gguf.training_keys import DEFAULT_PROMPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from genrec_edge.coordinates import TokenId
    from genrec_edge.engine.bindings import Model


ItemT = TypeVar("ItemT", bound=int)
"""The coordinate that a prompt names its titles by: `CatalogRow` in a request, `ItemIndex` in training."""

FORMS = "forms-1"
"""The layout of models that were tuned with preferences, intentions and tasks in words."""
INSTRUCTION = "# The most famous films ever made\n\n"
"""Of 32 wordings the one with which the untuned SmolLM2-135M-Instruct needs the fewest evaluations for an exact
top 10 after 20 films of MovieLens users; wordings that speak of a person and a taste need up to twice as many."""

BLOCK = 8
"""Titles that are left out of a full prompt at once. Of 943 MovieLens users the default model with 28 to 35 titles and
not always 35, finds .2354 of the validation items among ten, not .2333 (NDCG .1228, not .1222)."""

TASTE, NOW, WANTED = "## Taste:", "## Now:", "## Wanted:"
NEXT, ENJOYED, YES, NO = "## Next:", "## Enjoyed:", " yes", " no"
EITHER, RATHER = "## Either of these:", "## Rather:"
FILM, ASKED_AS = "## Film:", "## Asked for as:"
"""What lines that are not titles begin with. What follows on the same line is tokenised with its leading space."""


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """The texts before the titles and between them and the answer.

    `has_forms` says whether preferences, intentions and tasks can be asked in words. Models of the first layout were
    not tuned with them, and are asked in the same words as those that were.
    """

    head: str
    tail: str = ""
    has_forms: bool = True


LAYOUTS: Mapping[str, PromptLayout] = {
    DEFAULT_PROMPT: PromptLayout(INSTRUCTION),
    FORMS: PromptLayout(INSTRUCTION),
    "genrec-1": PromptLayout(
        "Below is a task and what it is about. Write the answer.\n\n### Task:\nName the film that this person will "
        "watch next.\n\n### Films watched so far, the latest last:\n",
        "\n### Answer:\n",
        has_forms=False,
    ),
}
"""Known layouts by version. "genrec-1" has the parts of GenRec's prompt (task, input, response), one title a line."""


def head_and_tail(layout: PromptLayout, model: Model) -> tuple[list[TokenId], list[TokenId]]:
    """Return the token ids before the titles and after them, as `model` tokenises them."""
    return model.tokenize_start(layout.head), model.tokenize(layout.tail) if layout.tail else []


@dataclass(frozen=True, slots=True)
class PromptLine:
    """A line that begins with a mark: `text` follows on it, or else it stands alone.

    `is_open` leaves out the end of the line, for an answer that follows.
    """

    mark: str
    text: str = ""
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class PromptTitle(Generic[ItemT]):
    """A line with the title of an item."""

    item: ItemT


Part = PromptLine | PromptTitle[ItemT]


def before_history(preference: str | None) -> list[PromptLine]:
    """Return what stands between the heading and the history."""
    taste = one_line(preference or "")
    return [PromptLine(TASTE, taste)] if taste else []


def after_history(intent: str | None, context: Mapping[str, str]) -> list[PromptLine]:
    """Return what stands between the history and the task: context and intention."""
    now = ", ".join(filter(None, map(one_line, context.values())))
    wanted = one_line(intent or "")
    lines = (PromptLine(NOW, now), PromptLine(WANTED, wanted))
    return [line for line in lines if line.text]


def pointwise(item: ItemT) -> list[Part[ItemT]]:
    """Return the question whether an item would be enjoyed; `YES` or `NO` answers it."""
    return [PromptLine(NEXT), PromptTitle(item), PromptLine(ENJOYED, is_open=True)]


def pairwise(a: ItemT, b: ItemT) -> list[Part[ItemT]]:
    """Return the question which of two items is preferred, in this order; the title of one of them answers it."""
    return [PromptLine(EITHER), PromptTitle(a), PromptTitle(b), PromptLine(RATHER)]


def describing() -> list[PromptLine]:
    """Return the question what the user of a history likes; words answer it, with a leading space."""
    return [PromptLine(TASTE, is_open=True)]


def asking_for(item: ItemT) -> list[Part[ItemT]]:
    """Return the question what one would ask for to be given an item; words answer it, with a leading space."""
    return [PromptLine(FILM), PromptTitle(item), PromptLine(ASKED_AS, is_open=True)]


def one_line(text: str) -> str:
    """Return a sentence as it stands in a prompt: one line, nothing invisible, at most 512 bytes."""
    return clean(text)


def encode(
    parts: Sequence[Part[ItemT]],
    tokenize: Callable[[str], list[TokenId]],
    path_of: Callable[[ItemT], Sequence[TokenId]],
    end_id: TokenId,
) -> list[TokenId]:
    """Return the token ids of parts.

    Args:
        parts: lines and titles.
        tokenize: text to token ids, nothing added, control tokens in it plain text.
        path_of: the token ids of an item's title.
        end_id: the end-of-title token, which ends every line.
    """
    token_ids: list[TokenId] = []
    for part in parts:
        if isinstance(part, PromptTitle):
            token_ids += [*path_of(part.item), end_id]
            continue
        token_ids += tokenize(part.mark)
        if part.text:
            token_ids += tokenize(f" {part.text}")
        if not part.is_open:
            token_ids.append(end_id)
    return token_ids


def n_titles_to_drop(n_titles: int, n_fitting: int) -> int:
    """Return how many of the oldest titles of a history to leave out, if the latest `n_fitting` fit.

    If these are many, titles are left out in blocks: the beginning of the prompt of a growing history then seldom
    changes, and only the tokens of its new titles are evaluated.
    """
    n = max(0, n_titles - n_fitting)
    return n if n_fitting < 4 * BLOCK else math.ceil(n / BLOCK) * BLOCK


def build_prompt(
    head_ids: Sequence[TokenId],
    title_ids: Sequence[Sequence[TokenId]],
    *,
    end_id: TokenId,
    max_tokens: int,
    tail_ids: Sequence[TokenId] = (),
) -> tuple[list[TokenId], int]:
    """Return the prompt's token ids and how many of the oldest titles were left out to fit `max_tokens`.

    Of those that do not fit, more may be left out than must be: see `n_titles_to_drop`.

    Raises:
        UsageError: `max_tokens` is too small for the newest title, or for head and tail.
    """
    room = max_tokens - len(head_ids) - len(tail_ids)
    n_dropped = len(title_ids)
    for ids in reversed(title_ids):
        if len(ids) + 1 > room:
            break
        room -= len(ids) + 1
        n_dropped -= 1
    if room < 0 or (title_ids and n_dropped == len(title_ids)):
        what = "one title" if title_ids else "its words"
        raise UsageError(
            f"the context leaves {max_tokens} tokens for the prompt, too few for {what}",
            hint="give a larger `n_ctx`",
        )
    n_dropped = n_titles_to_drop(len(title_ids), len(title_ids) - n_dropped)
    prompt = list(head_ids)
    for ids in title_ids[n_dropped:]:
        prompt += [*ids, end_id]
    return [*prompt, *tail_ids], n_dropped
