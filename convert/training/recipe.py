"""How a model is trained: every number of it, in one TOML file. Unknown keys and values out of range are refused.

The files in `models/recipes/` say what each key does; the defaults here are those of `smollm2-135m-cpu.toml`.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from genrec_edge.convert.checkpoint.layers import parse_layers
from genrec_edge.decoding.prompts import FORMS, LAYOUTS
from genrec_edge.errors import UsageError, several
from genrec_edge.storage.files import path_errors

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = "smollm2-135m-cpu"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of the LLaMA family; embedding and output are not adapted, as the search wants them as they are."""
FORM_NAMES = ("history", "taste", "search", "personal", "judge", "compare", "describe", "queries", "templates")
_MAX_BYTES = 1 << 16
_MAX_SHOWN = 60
_MAX_INT = 1 << 62


@dataclass(frozen=True, slots=True)
class DataSection:
    """Which events are trained on, and in what pieces."""

    split: Literal["leave-one-out", "time", "cold", "all"] = "leave-one-out"
    ties: Literal["file", "item"] = "file"
    min_count: int = 0
    window: int = 36
    """Titles of one sequence; longer histories are cut at random places."""
    targets: Literal["all", "last"] = "all"
    shuffle_ties: bool = False
    """Events of one time come in another order every time: which came first is not known."""
    drop: float = 0.0
    """Share of a window's titles that is left out at random."""


@dataclass(frozen=True, slots=True)
class ObjectiveSection:
    """What is minimised; see `objective.py`."""

    kind: Literal["catalog", "residual", "vocabulary"] = "catalog"
    catalog: Literal["data set", "training items"] = "data set"
    """Whose titles the trie holds."""
    others: str = ""
    """A catalog with titles that nobody in the data set has met, "films" for the package's own; see `catalogs.py`."""
    distill: float = 0.0


@dataclass(frozen=True, slots=True)
class LoraSection:
    """The adapter. Source of the paper's values: GenRec, arXiv 2307.00457."""

    r: int = 64
    alpha: float = 64.0
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS
    whole: tuple[str, ...] = ()
    """Modules that are trained and saved as a whole instead."""
    tokens: bool = False
    """The rows of embedding and output matrix of the tokens of the titles are trained, too."""


@dataclass(frozen=True, slots=True)
class BaseSection:
    """How the base is loaded."""

    layers: str = ""
    """Which layers are kept, such as "0-7,28,29"; empty keeps all."""
    adapter: str = ""
    """The folder of an adapter to go on from, trained with the same layers and [lora]; empty begins anew."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    gradient_checkpointing: bool = False
    load_in_4bit: bool = False
    """Needs bitsandbytes, and a GPU."""


@dataclass(frozen=True, slots=True)
class OptimizerSection:
    """AdamW and how much of it."""

    lr: float = 8e-4
    warmup: int = 30
    """Steps until the learning rate is reached."""
    decay: Literal["constant", "cosine"] = "cosine"
    """A cosine ends at 3 % of the learning rate."""
    weight_decay: float = 0.0
    clip: float = 1.0
    batch: int = 6
    """Sequences of one step, all processes together."""
    micro_batch: int = 6
    """Sequences of one forward pass of one process; gradients are added up to a batch."""
    epochs: float = 1.0
    """One epoch has as many targets as there are training events."""


@dataclass(frozen=True, slots=True)
class ValidationSection:
    """The runtime's own exact decoder, asked for the validation items of some users."""

    users: int = 100
    every: float = 0.5
    """Epochs between two looks."""
    patience: int = 3
    """Looks without a better NDCG@10 after which training stops."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    prompt: Literal["titles-1", "forms-1", "genrec-1"] = "titles-1"
    seed: int = 0
    checkpoint_every: int = 100
    """Steps between two checkpoints to resume from."""
    data: DataSection = field(default_factory=DataSection)
    objective: ObjectiveSection = field(default_factory=ObjectiveSection)
    lora: LoraSection = field(default_factory=LoraSection)
    base: BaseSection = field(default_factory=BaseSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    validation: ValidationSection = field(default_factory=ValidationSection)
    forms: dict[str, float] = field(default_factory=lambda: {"history": 1.0})
    """Instruction forms by how often they come: of "history", "taste", "search", "personal", "judge", "compare",
    "describe", "queries" and "templates"; see `instructions.py`."""

    def document(self) -> dict[str, Any]:
        """Return all of it, for `run.json`."""
        return asdict(self)


def find_recipe(path: Path | None, name: str | None) -> Recipe:
    """Return the recipe in a file, one that comes with the package, or the default one.

    Raises:
        UsageError: both were named; there is no such recipe; or it is not right, see `read_recipe`.
    """
    if path is not None and name is not None:
        raise UsageError("--config and --recipe both name a recipe", hint="leave one of them out")
    if path is not None:
        return read_recipe(path)
    folder = resources.files("genrec_edge.models") / "recipes"
    known = sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    name = name or DEFAULT
    if name not in known:
        raise UsageError(f"there is no recipe {name!r}", hint=f"known: {', '.join(known)}; --config takes a file")
    return recipe_of(tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")), name)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; keys that are not there keep their defaults.

    Raises:
        UsageError: it is no TOML, or has unknown keys or values out of range; all of them are named.
    """
    with path_errors(path), path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path} is larger than {_MAX_BYTES:,} bytes", hint="name a recipe, such as those in models/")
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as e:  # no UTF-8, no TOML, integers of thousands of digits; deep nesting
        raise UsageError(f"{path} is no TOML: {e}", hint="models/recipes/*.toml show what a recipe looks like") from e
    return recipe_of(document, str(path))


def recipe_of(document: dict[str, Any], where: str) -> Recipe:
    """Return the recipe that a parsed document describes; `read_recipe` says what can be raised."""
    faults: list[str] = []
    recipe: Recipe = _fill(Recipe, document, "", faults)
    if not faults:
        faults = _out_of_range(recipe)
    if faults:
        raise UsageError(f"{where}: {several(faults, most=20)}", hint="models/recipes/*.toml describe every key")
    return recipe


def _fill(kind: type, document: dict[str, Any], prefix: str, faults: list[str]) -> Any:
    """Return a dataclass with what the document says; what does not fit is noted."""
    types = get_type_hints(kind)
    known = {f.name: types[f.name] for f in fields(kind)}
    values = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if key not in known:
            faults.append(f"unknown key {name[:_MAX_SHOWN]!r}")
        elif hasattr(known[key], "__dataclass_fields__"):
            if isinstance(value, dict):
                values[key] = _fill(known[key], value, f"{name}.", faults)
            else:
                faults.append(f"{name} is no table")
        elif (fitted := _fit(value, known[key])) is None:
            faults.append(f"{name} = {repr(value)[:_MAX_SHOWN]} is not {_expected(known[key])}")
        else:
            values[key] = fitted
    return kind(**values)


def _fit(value: Any, kind: Any) -> Any:
    """Return the value as its type asks for it, or None."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if get_origin(kind) is tuple:
        return tuple(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else None
    if get_origin(kind) is dict:
        numbers = isinstance(value, dict) and all(_fit(v, float) is not None for v in value.values())
        return {key: float(v) for key, v in value.items()} if numbers else None
    if isinstance(value, int) and abs(value) > _MAX_INT:
        return None
    if kind is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if type(value) is kind else None


def _expected(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is dict:
        return "a table of numbers"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}.get(kind, "a list of texts")


def _out_of_range(recipe: Recipe) -> list[str]:
    """Return what is of the right type and still makes no sense."""
    data, optimizer, objective = recipe.data, recipe.optimizer, recipe.objective
    ranges: list[tuple[str, float, float, float]] = [
        ("seed", recipe.seed, 0, 2**31),
        ("checkpoint_every", recipe.checkpoint_every, 1, 10**9),
        ("data.min_count", data.min_count, 0, 10**6),
        ("data.window", data.window, 2, 4096),
        ("data.drop", data.drop, 0, 0.45),
        ("objective.distill", objective.distill, 0, 1),
        ("lora.r", recipe.lora.r, 1, 1024),
        ("lora.alpha", recipe.lora.alpha, 1e-6, 1e6),
        ("lora.dropout", recipe.lora.dropout, 0, 0.99),
        ("optimizer.lr", optimizer.lr, 1e-9, 10),
        ("optimizer.warmup", optimizer.warmup, 0, 10**9),
        ("optimizer.weight_decay", optimizer.weight_decay, 0, 10),
        ("optimizer.clip", optimizer.clip, 1e-6, 1e6),
        ("optimizer.batch", optimizer.batch, 1, 10**6),
        ("optimizer.micro_batch", optimizer.micro_batch, 1, optimizer.batch),
        ("optimizer.epochs", optimizer.epochs, 1e-6, 10**6),
        ("validation.users", recipe.validation.users, 1, 10**9),
        ("validation.every", recipe.validation.every, 1e-6, 10**6),
        ("validation.patience", recipe.validation.patience, 1, 10**9),
    ]
    faults = [
        f"{name} = {value:g} is not in {low:g}..{high:g}"
        for name, value, low, high in ranges
        if not low <= value <= high
    ]
    if optimizer.micro_batch and optimizer.batch % optimizer.micro_batch:
        faults.append("optimizer.batch is no multiple of optimizer.micro_batch")
    if recipe.base.layers:
        try:
            parse_layers(recipe.base.layers)
        except UsageError as e:
            faults.append(f"base.layers: {e.message}")
    if not recipe.lora.targets:
        faults.append("lora.targets names no layers")
    if unknown := sorted(set(recipe.lora.targets) - set(TARGETS)):
        faults.append(f"lora.targets names {', '.join(unknown)[:_MAX_SHOWN]}; known: {', '.join(TARGETS)}")
    faults += _faults_of_forms(recipe)
    if objective.kind == "vocabulary" and objective.distill:
        faults.append("objective.distill needs a loss over the catalog")
    if LAYOUTS[recipe.prompt].tail and data.targets == "all":
        faults.append(f'prompt {recipe.prompt!r} asks for one title: it needs data.targets = "last"')
    return faults


def _faults_of_forms(recipe: Recipe) -> list[str]:
    faults = []
    if unknown := sorted(set(recipe.forms) - set(FORM_NAMES)):
        faults.append(f"forms names {', '.join(unknown)[:_MAX_SHOWN]}; known: {', '.join(FORM_NAMES)}")
    if not all(0 <= weight < math.inf for weight in recipe.forms.values()) or not sum(recipe.forms.values()):
        faults.append("forms: the weights are no positive numbers")
    if set(recipe.forms) != {"history"} and (recipe.prompt != FORMS or recipe.data.targets != "all"):
        faults.append(f'forms other than "history" need prompt = "{FORMS}" and data.targets = "all"')
    return faults
