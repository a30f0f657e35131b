"""A training recipe: every setting of a run, as records that mirror the tables of its TOML file.

A key that a file leaves out has the default here; `models/recipes/smollm2-135m-cpu.toml` explains every key. Reading is
in `recipe_reader`, ranges are in `recipe_checks`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from genrec_edge.records import Ties, TrainingPart  # noqa: TC001 - read at run time, as the types of the keys

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of the LLaMA family. LoRA leaves embedding and output alone; the search needs them unchanged."""
FORM_NAMES = ("history", "taste", "search", "personal", "judge", "compare", "describe", "queries", "templates")
"""The keys of [forms]; `data.instructions.FORMS` has a function for each."""


@dataclass(frozen=True, slots=True)
class DataSection:
    """[data]: which events are trained on, and how they are cut into sequences."""

    split: TrainingPart = "leave-one-out"
    ties: Ties = "file"
    """Order of equal timestamps."""
    min_rating: float = -math.inf
    """Events with a lower rating are left out, as if they had not been; those without a rating stay."""
    min_count: int = 0
    """k of the k-core; 0 keeps all events."""
    window: int = 36
    """Maximum number of titles in a sequence; longer histories are cut at random."""
    targets: Literal["all", "last"] = "all"
    """Whether every title of a sequence is a target, or the last one only."""
    shuffle_ties: bool = False
    """Whether events of the same time are put in random order at every draw: their real order is unknown."""
    drop: float = 0.0
    """Average share of a window's titles that are left out at random."""


@dataclass(frozen=True, slots=True)
class ObjectiveSection:
    """[objective]: what is minimised; see `loss.py`."""

    kind: Literal["catalog", "residual", "vocabulary"] = "catalog"
    catalog: Literal["data set", "training items"] = "data set"
    """Whose titles are in the trie."""
    others: str = ""
    """A catalog with extra titles that are not in the data set; "films" is the one that comes with the package. Empty
    for none; see `data/extra_titles.py`."""
    distill: float = 0.0
    """Weight of the teacher's distribution in the targets."""
    teacher: Literal["sequence", "mixture", "taste"] = "sequence"
    """Whose distribution that is: of the counted prior, of the mixture of facts, liked sets and counts, or of one that
    tells only what of a week somebody chose. The residual objective stands on it, too."""
    offset: Literal["none", "week"] = "none"
    """What the title that came is explained beyond: nothing, or what everybody met in the same week."""


@dataclass(frozen=True, slots=True)
class LoraSection:
    """[lora]: the adapter. Source of the paper's values: GenRec, arXiv 2307.00457."""

    r: int = 64
    alpha: float = 64.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LORA_TARGETS
    whole: tuple[str, ...] = ()
    """Modules that are trained and saved in full, without a low rank."""
    tokens: bool = False
    """Whether the embedding and output rows of the titles' tokens are trained, too."""
    token_titles: int = 1
    """In how many titles a token has to be for that."""


@dataclass(frozen=True, slots=True)
class BaseSection:
    """[base]: how the base is loaded."""

    layers: str = ""
    """Layers to keep, such as "0-7,28,29"; empty keeps all."""
    adapter: str = ""
    """Folder of the initial adapter, trained with the same layers and [lora]; empty starts with a new one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the base's own weights; those of the adapter are float32."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """In what the products of the model are computed. bfloat16 takes two thirds of the time where a processor knows it;
    losses and weights stay float32."""
    gradient_checkpointing: bool = False
    load_in_4bit: bool = False
    """Needs bitsandbytes and a GPU."""


@dataclass(frozen=True, slots=True)
class OptimizerSection:
    """[optimizer]: AdamW, batches and epochs."""

    lr: float = 8e-4
    warmup: int = 30
    """Steps until the learning rate is reached."""
    decay: Literal["constant", "cosine"] = "cosine"
    """A cosine ends at 3 % of the learning rate."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Maximum norm of the gradient."""
    batch: int = 6
    """Sequences of one step, over all processes."""
    micro_batch: int = 6
    """Sequences of one forward pass of one process; gradients are accumulated over a batch."""
    epochs: float = 1.0
    """One epoch has as many targets as there are training events."""


@dataclass(frozen=True, slots=True)
class ValidationSection:
    """[validation]: the validation items of some users are ranked with the recommender's exact search."""

    users: int = 100
    every: float = 0.5
    """Epochs between two validations."""
    patience: int = 3
    """Validations without a better NDCG@10 after which training stops."""


_NEW_KEYS = (("objective", "teacher"), ("objective", "offset"), ("lora", "token_titles"), ("base", "compute"))
"""What version 0.1 did not have."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    prompt: Literal["titles-1", "forms-1", "genrec-1"] = "titles-1"
    seed: int = 0
    checkpoint_every: int = 100
    """Steps between two states to resume from."""
    data: DataSection = field(default_factory=DataSection)
    objective: ObjectiveSection = field(default_factory=ObjectiveSection)
    lora: LoraSection = field(default_factory=LoraSection)
    base: BaseSection = field(default_factory=BaseSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    validation: ValidationSection = field(default_factory=ValidationSection)
    forms: dict[str, float] = field(default_factory=lambda: {"history": 1.0})
    """Weight of each instruction form, by the names of `FORM_NAMES`; see `data/instruction_forms.py`."""

    def document(self) -> dict[str, Any]:
        """Return the recipe as a document, for `run.json`.

        JSON has no word for "no least rating". Keys that version 0.1 did not have are left out where they are as they
        were for it, so that a run of that version can go on.
        """
        document, usual = asdict(self), asdict(Recipe())
        if self.data.min_rating == -math.inf:
            del document["data"]["min_rating"]
        for section, key in _NEW_KEYS:
            if document[section][key] == usual[section][key]:
                del document[section][key]
        return document
