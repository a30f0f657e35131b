"""Which way is up: the arrows of the imports, and what must not be loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"genrec_edge": ROOT / "genrec_edge", "genrec_edge.convert": ROOT / "convert"}

# From the ground up: a module may import those of the layers below its own. Every module of the runtime stands here.
LAYERS = (
    "__init__ errors records result_json titles branches batch bitmaps gguf_types",
    "significance memory transitions closeness",
    "paths files importing gguf_parse registry histories checks metrics baselines priors calibration sqlite_errors",
    "columns schema prompts intent_words gguf_header fetch writing filters llama answers prior_file prior_fit habits",
    "filling events gguf_check manifest index forward ggml_tensor figures",
    "head interrupt prompt_cache",
    "tuning engine index_update",
    "building pull decoder freeform lora prior_counting prior_binding",
    "catalog store inspection ranked",
    "facts report",
    "intent_years intent_names",
    "intent_grammar",
    "grounding index_cache selection dataset profiles wishes intents reasons",
    "fusion interactions summaries lore describing",
    "summary_writer profile_file telling questions",
    "profile_store",
    "settings",
    "session",
    "crew judging",
    "tasks",
    "recommender",
    "ranking evaluation job_users job_rows",
    "scores verdicts job_parts job_work",
    "job_local job_ray jobs",
    "cli",
)
# The same for the offline stage; what it uses of the runtime is tested apart.
CONVERT_LAYERS = (
    "__init__ config names checkpoint safetensors_file tokenizer tokenizer_settings workplace samples agreement films",
    "token_rows catalogs",
    "lessons corpus batches examples templates objective train_state",
    "assembly train_step",
    "wording",
    "instructions instances",
    "depth quantize imatrix evaluation_plot reliability_plot answers verification report joining",
    "transformers_tokenizer",
    "config_hf config_gguf tokenizer_bpe tokenizer_spm tokenizer_gguf merge sizes inputs card plot transformers_model",
    "recipe trainee dataset",
    "adapter_config tokenizer_hf gguf_base gguf_writer parity provenance",
    "adapter adapter_gguf folder plan tokenizer_export verify documents material train_report",
    "folder_writer open_base install validation",
    "steps adapter_job train_job arrival",
    "pipeline train",
)
PRINTERS = {"cli"}
HEAVY = ("numpy", "llama_cpp", "torch", "transformers", "sqlite_utils", "rich", "typer", "rapidfuzz", "filelock")


def modules() -> dict[str, Path]:
    """Return every Python file under its dotted name, the runtime's and those of the offline stage."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *parts))] = path
    return found


def layer_name(module: str, package: str = "genrec_edge") -> str:
    """Return what a module of a package is called in its layers: its name, "cli" for everything in there."""
    below = module.removeprefix(package).removeprefix(".")
    return below.split(".")[0] or "__init__"


class Imports(ast.NodeVisitor):
    """Collects the modules a file imports when it runs; what only type checkers read is left out."""

    def __init__(self, known: frozenset[str]) -> None:
        self.found: set[str] = set()
        self._known = known

    def visit_If(self, node: ast.If) -> None:
        only_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.orelse if only_types else [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        assert node.module
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            self.found.add(full if full in self._known else node.module)


def imports_of(path: Path) -> set[str]:
    known = modules().keys() | {name.removesuffix(".__init__") for name in modules()}
    visitor = Imports(frozenset(known))
    visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    return visitor.found


RUNTIME = {name: path for name, path in modules().items() if not name.startswith("genrec_edge.convert")}
CONVERT = {name: path for name, path in modules().items() if name.startswith("genrec_edge.convert")}


def heights(layers: tuple[str, ...]) -> dict[str, int]:
    named = [(module, height) for height, layer in enumerate(layers) for module in layer.split()]
    assert len(dict(named)) == len(named), "a module stands in two layers"
    return dict(named)


def arrows(files: dict[str, Path] = RUNTIME, package: str = "genrec_edge") -> set[tuple[str, str]]:
    """Return (importing, imported) of modules inside a package, as named in its layers; the CLI counts as one."""
    drawn = set()
    for name, path in files.items():
        for imported in imports_of(path):
            if f"{imported}.".startswith(f"{package}."):
                drawn.add((layer_name(name, package), layer_name(imported, package)))
    return {(a, b) for a, b in drawn if a != b}


def test_every_module_has_its_layer() -> None:
    assert {layer_name(name) for name in RUNTIME} == heights(LAYERS).keys()
    assert {layer_name(name, "genrec_edge.convert") for name in CONVERT} == heights(CONVERT_LAYERS).keys()


def test_no_arrow_runs_back() -> None:
    drawn = arrows()
    assert ("session", "decoder") in drawn  # else nothing was found at all
    assert ("cli", "recommender") in drawn
    height = heights(LAYERS)
    wrong = {f"{a} imports {b}" for a, b in drawn if b != "convert" and height[b] >= height[a]}
    assert wrong == set()


def test_no_arrow_of_the_offline_stage_runs_back() -> None:
    drawn = arrows(CONVERT, "genrec_edge.convert")
    assert ("pipeline", "merge") in drawn
    assert ("folder", "config_hf") in drawn
    height = heights(CONVERT_LAYERS)
    assert {f"{a} imports {b}" for a, b in drawn if height[b] >= height[a]} == set()


def test_an_arrow_that_runs_back_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from genrec_edge.store import ModelStore\n"
        "else:\n    import json\n"
        "def f():\n    from genrec_edge import recommender, __version__\n"
        "    import genrec_edge.cli.models\n"
    )
    assert imports_of(path) == {
        "typing",
        "json",
        "genrec_edge.recommender",
        "genrec_edge",
        "genrec_edge.cli.models",
    }


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("index", {"catalog", "engine", "llama", "schema"}),
        ("engine", {"index", "catalog", "titles", "prompts"}),
        ("decoder", {"llama", "catalog", "titles"}),
        ("catalog", {"index", "engine", "llama", "decoder"}),
        ("store", {"llama", "engine", "catalog"}),
        ("grounding", {"index", "engine", "llama"}),
    ],
)
def test_parts_that_do_not_know_each_other(above: str, below: set[str]) -> None:
    assert {b for a, b in arrows() if a == above}.isdisjoint(below)


def test_the_runtime_does_not_know_the_offline_stage() -> None:
    """Only the bodies of commands may import it."""
    for name, path in RUNTIME.items():
        if not name.startswith("genrec_edge.cli."):
            assert not any(i.startswith("genrec_edge.convert") for i in imports_of(path)), name
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                assert "genrec_edge.convert" not in ast.unparse(statement), name


def test_the_offline_stage_stands_on_the_ground_of_the_runtime() -> None:
    for name, path in modules().items():
        if name.startswith("genrec_edge.convert"):
            own = {i for i in imports_of(path) if i.startswith("genrec_edge.")}
            assert not {layer_name(i) for i in own} & {"cli", "decoder", "selection"}, name


def test_one_module_imports_llama_cpp() -> None:
    importing = {
        name for name, path in RUNTIME.items() if any(i.split(".")[0] == "llama_cpp" for i in imports_of(path))
    }
    assert importing == {"genrec_edge.llama"}


def test_nothing_of_the_runtime_imports_a_training_library() -> None:
    for name, path in RUNTIME.items():
        libraries = {i.split(".")[0] for i in imports_of(path)}
        assert not libraries & {"torch", "transformers", "peft", "accelerate", "gguf"}, name


def test_which_modules_of_the_offline_stage_import_training_libraries_and_a_conversion_loads_none() -> None:
    heavy = {"torch", "transformers", "peft", "accelerate", "tokenizers", "sentencepiece", "safetensors"}
    importing = {name for name, path in CONVERT.items() if {i.split(".")[0] for i in imports_of(path)} & heavy}
    verifying = "transformers_model transformers_tokenizer"
    training = "batches objective token_rows train train_job train_state train_step trainee"
    both = {f"genrec_edge.convert.{name}" for name in f"{verifying} {training}".split()}
    assert importing == both
    loaded = loaded_by("import genrec_edge.convert.pipeline, genrec_edge.convert.adapter_job")
    assert {"genrec_edge.convert.steps", "gguf"} <= loaded
    heavy.remove("sentencepiece")  # the gguf package loads it where it finds it
    assert loaded.isdisjoint({*heavy, *both, "matplotlib"})


def test_only_the_command_line_prints() -> None:
    for name, path in modules().items():
        if layer_name(name) in PRINTERS or name == "genrec_edge.convert.films":  # which is run as a script
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in {"print", "sys.stdout.write", "sys.stderr.write", "typer.echo", "warnings.warn"}, name


def loaded_by(statement: str) -> set[str]:
    """Return the names of the modules that are loaded after a statement, in a process of its own."""
    script = f"import sys\n{statement}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_is_light() -> None:
    loaded = loaded_by("import genrec_edge")
    assert "genrec_edge" in loaded
    assert loaded.isdisjoint((*HEAVY, "genrec_edge.recommender", "sqlite3"))


def test_the_names_of_the_package_load_on_first_use() -> None:
    loaded = loaded_by("import genrec_edge\nfor name in genrec_edge.__all__:\n    getattr(genrec_edge, name)")
    assert {"genrec_edge.recommender", "genrec_edge.catalog", "numpy"} <= loaded
    assert loaded.isdisjoint({"llama_cpp", "torch", "transformers", "rich", "typer", "sqlite_utils"})


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["recommend"],
        ["batch"],
        ["resolve"],
        ["bench"],
        ["inspect"],
        ["evaluate"],
        ["catalog"],
        ["catalog", "build"],
        ["models"],
    ],
)
def test_help_is_light(command: list[str]) -> None:
    argv = ["genrec-edge", *command, "--help"]
    statement = (
        f"sys.argv = {argv!r}\nfrom genrec_edge.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code == 0"
    )
    assert loaded_by(statement).isdisjoint(
        {"llama_cpp", "torch", "transformers", "sqlite_utils", "rapidfuzz", "numpy", "genrec_edge.recommender"}
    )
