"""Every option of a request, and every option of opening a recommender: each declared once, as a field here.

A field says its type, its default, what it means and which values make sense. All else follows from it: the argument
of the Python call (`option_fields.arguments_of`), the option of the command line (`cli.arguments`), the field in the
rows of a batch (`batch.users`), the check before anything is computed (`option_fields.check_options`), and the tables
of docs/cli.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.option_fields import option
from genrec_edge.records import Decode, Interaction, PriorKind, ScoreKind, Task

if TYPE_CHECKING:
    from genrec_edge.decoding.best_first import Budget
    from genrec_edge.hub.store import ModelFile
else:  # the annotations are read at run time, and these two stand above this module
    Budget = ModelFile = object


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the recommender: preference x intention x task form, as InstructRec has them, and conditions.

    The preference is none (P0), a history (P1), a sentence (P2), or a sentence and a history; the intention none (I0),
    vague (I1) or specific (I2): a specific one names facts of the catalog. Every combination is a question; the task
    says what the answer is, and how many candidates there are. `field_help(Request)` has what each field means.
    Source: arXiv 2305.07001, section 3.1.
    """

    history: Sequence[str | Interaction] = field(
        default=(),
        metadata=option(
            "What the user has enjoyed, oldest first; interactions that all carry a timestamp are put in its order.",
            flag=None,
        ),
    )
    _: KW_ONLY
    k: int = field(default=10, metadata=option("How many to return.", flag="-k", least=1))
    where: str | None = field(
        default=None, metadata=option('Condition on the catalog\'s columns, such as "year >= 1990".', metavar="SQL")
    )
    exclude: Sequence[str] = field(
        default=(), metadata=option("A title or id never to recommend; repeat it.", metavar="TITLE")
    )
    candidates: Sequence[str] | None = field(
        default=None,
        metadata=option("Choose among these titles or ids only; repeat it.", flag="--candidate", metavar="TITLE"),
    )
    allow_seen: bool = field(default=False, metadata=option("Items of the history may be recommended."))
    min_rating: float | None = field(
        default=None, metadata=option("Entries rated lower count as seen, not as enjoyed.", metavar="N")
    )
    bias: Mapping[str, float] = field(
        default_factory=dict,
        metadata=option("Nats added to the score of items, by id; the search stays exact.", flag=None),
    )
    decode: Decode = field(
        default="exact",
        metadata=option("Exact search, beam search, or free text that is grounded afterwards.", per_user=False),
    )
    temperature: float = field(
        default=0.0,
        metadata=option("Of free text: 0 is greedy, 1 samples the model as it is.", least=0, per_user=False),
    )
    seed: int = field(default=0, metadata=option("Of free text.", least=0, per_user=False))
    preference: str | None = field(
        default=None, metadata=option('What the user likes, such as "slow, melancholic".', metavar="WORDS")
    )
    intent: str | None = field(
        default=None,
        metadata=option(
            'What is wanted this time, such as "comedy, 1990s, French"; facts of the catalog in it narrow the answer.',
            metavar="WORDS",
        ),
    )
    intent_where: bool = field(
        default=True, metadata=option("Whether facts of the catalog that the intention names narrow the answer.")
    )
    context: Mapping[str, str] = field(
        default_factory=dict,
        metadata=option(
            'When, where, with whom: "when=Sunday evening"; it is part of the prompt and filters nothing.',
            metavar="NAME=WORDS",
        ),
    )
    task: Task = field(
        default="matching",
        metadata=option(
            'What the answer is: "matching" the k best items, "reranking" all candidates in order, '
            '"pointwise" whether one candidate is enjoyed, "pairwise" which of two is preferred.',
            flag=None,
            per_user=False,
        ),
    )
    explain: bool = field(
        default=False,
        metadata=option("Say which titles of the history speak for each item, by leaving them out.", per_user=False),
    )
    timeout_s: float | None = field(
        default=None,
        metadata=option(
            "Give up after this time.",
            flag="--timeout",
            metavar="SECONDS",
            least=0,
            most=threading.TIMEOUT_MAX,
            per_user=False,
        ),
    )


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What a recommender is opened with. `field_help(OpenOptions)` has what each field means.

    Of the types a field may have, the first is the one that the command line reads.
    """

    model: str | Path | ModelFile | None = field(
        default=None, metadata=option("A model of the store or a .gguf file; else the default.", metavar="NAME|FILE")
    )
    catalog: Path | str | None = field(
        default=None, metadata=option("A catalog; the films that come along where none is named.", metavar="FILE")
    )
    _: KW_ONLY
    adapter: Path | str | None = field(
        default=None, metadata=option("A LoRA adapter in GGUF format, made for the model.", metavar="FILE")
    )
    score: ScoreKind | None = field(
        default=None, metadata=option("Overrides the kind of score the model was tuned for.")
    )
    prior: Path | str | None = field(
        default=None,
        metadata=option("Own counts that `prior build` made.", flag="--prior-file", metavar="FILE"),
    )
    prior_kind: PriorKind | None = field(
        default=None,
        metadata=option(
            "What is known without the model: a mixture of facts in common, liked sets, how well known items are and "
            "the counts of --prior-file; of these counts alone popularity or sequence; or none. Else the mixture.",
            flag="--prior",
        ),
    )
    prior_weight: float | None = field(
        default=None,
        metadata=option("Nats for each nat of the prior; what suits the model.", metavar="W", least=0),
    )
    calibrate: float | None = field(
        default=None,
        metadata=option(
            "Take ALPHA times what a title gets without a history off; what suits the model.", metavar="ALPHA", least=0
        ),
    )
    budget: int | Budget | None = field(
        default=None,
        metadata=option("What an exact search may evaluate before a beam ends it; 4000.", metavar="TOKENS", least=0),
    )
    n_threads: int | None = field(
        default=None, metadata=option("CPU threads; all there are, up to 8.", flag="--threads", metavar="N")
    )
    n_ctx: int | None = field(default=None, metadata=option("Context in tokens; 2048.", flag="--ctx", metavar="N"))
    prompts_path: Path | None = field(
        default=None,
        metadata=option("A folder that keeps evaluated prompts of models of the store for later processes.", flag=None),
    )
    on_title: Callable[[int, int], object] | None = field(
        default=None,
        metadata=option("Called with how many titles of how many are indexed, for a progress bar.", flag=None),
    )
