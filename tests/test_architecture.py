"""Which way is up: the arrows of the imports, and what must not be loaded before it is needed."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {"genrec_edge": ROOT / "genrec_edge", "genrec_edge.convert": ROOT / "convert"}

# From the ground up. A package imports those before a "<", never one beside it or after it.
RUNTIME_ORDER = (
    "_version coordinates errors < records option_fields < options < storage < gguf < hub engine catalog"
    " < decoding intents profiles < datasets < prior < serving < recommender evaluation < batch < cli"
)
CONVERT_ORDER = (
    "films hf_json < tokenizer < checkpoint < lora quantization < verification < pipeline < training.data < training"
)
PRINTERS = {"cli"}
SCRIPTS = {"genrec_edge.convert.films.__main__", "genrec_edge.convert.pipeline.pack"}
HEAVY = ("numpy", "llama_cpp", "torch", "transformers", "sqlite_utils", "rich", "typer", "rapidfuzz", "filelock")


@functools.cache
def modules() -> dict[str, Path]:
    """Return every Python file under its dotted name, the runtime's and those of the offline stage."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *parts))] = path
    return found


def package_of(module: str, root: str = "genrec_edge") -> str:
    """Return the package of a module below `root`, or the module itself where it lies in no package; "" for `root`."""
    parts = module.removesuffix(".__init__").removeprefix(root).removeprefix(".").split(".")
    if parts[:2] == ["training", "data"]:
        return "training.data"
    return parts[0]


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


@functools.cache
def imports_of(path: Path) -> set[str]:
    known = modules().keys() | {name.removesuffix(".__init__") for name in modules()}
    visitor = Imports(frozenset(known))
    visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    return visitor.found


RUNTIME = {name: path for name, path in modules().items() if not name.startswith("genrec_edge.convert")}
CONVERT = {name: path for name, path in modules().items() if name.startswith("genrec_edge.convert")}


def heights(order: str) -> dict[str, int]:
    named = [(package, height) for height, level in enumerate(order.split("<")) for package in level.split()]
    assert len(dict(named)) == len(named), "a package stands at two heights"
    return dict(named)


def arrows(files: dict[str, Path] = RUNTIME, root: str = "genrec_edge") -> set[tuple[str, str]]:
    """Return (importing, imported) of the packages below `root`."""
    drawn = set()
    for name, path in files.items():
        for imported in imports_of(path):
            if f"{imported}.".startswith(f"{root}."):
                drawn.add((package_of(name, root), package_of(imported, root)))
    return {(a, b) for a, b in drawn if a != b}


def test_every_package_has_its_height() -> None:
    assert {package_of(name) for name in RUNTIME} - {""} == heights(RUNTIME_ORDER).keys()
    assert {package_of(name, "genrec_edge.convert") for name in CONVERT} - {""} == heights(CONVERT_ORDER).keys()


def test_no_arrow_runs_back() -> None:
    drawn = arrows()
    assert ("serving", "decoding") in drawn  # else nothing was found at all
    assert ("cli", "recommender") in drawn
    height = heights(RUNTIME_ORDER)
    wrong = {f"{a} imports {b}" for a, b in drawn if a and b != "convert" and height[b] >= height[a]}
    assert wrong == set()


def test_no_arrow_of_the_offline_stage_runs_back() -> None:
    drawn = arrows(CONVERT, "genrec_edge.convert")
    assert ("pipeline", "lora") in drawn
    height = heights(CONVERT_ORDER)
    assert {f"{a} imports {b}" for a, b in drawn if height[b] >= height[a]} == set()


def test_packages_are_no_second_door() -> None:
    """A name is imported from the module that defines it: the `__init__` of a package holds its purpose alone."""
    for name, path in modules().items():
        if path.name == "__init__.py" and name not in {"genrec_edge.__init__", "genrec_edge.cli.__init__"}:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, f"{name} holds more than its docstring"
            assert isinstance(body[0], ast.Expr), name


def test_no_class_name_is_used_twice() -> None:
    found: dict[str, str] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert found.setdefault(node.name, name) == name, f"{node.name} is in {found[node.name]} and in {name}"
    assert found["Recommender"] == "genrec_edge.recommender"


def test_no_fixture_of_the_support_code_is_defined_twice() -> None:
    """Of two plugins with a fixture of one name, pytest takes the later one for every test, without a word."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "tests" / "support").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and "pytest.fixture" in map(_called, node.decorator_list):
                assert found.setdefault(node.name, path.name) == path.name, node.name
    assert "tiny_llama" in found


def _called(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def test_an_arrow_that_runs_back_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from genrec_edge.hub.store import ModelStore\n"
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
        ("engine", {"catalog", "decoding"}),
        ("catalog", {"decoding", "engine", "gguf"}),
        ("hub", {"engine", "catalog"}),
        ("intents", {"engine", "decoding"}),
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
            assert "cli" not in {package_of(i) for i in own}, name


def test_one_module_imports_llama_cpp() -> None:
    importing = {
        name for name, path in RUNTIME.items() if any(i.split(".")[0] == "llama_cpp" for i in imports_of(path))
    }
    assert importing == {"genrec_edge.engine.bindings"}


def test_nothing_of_the_runtime_imports_a_training_library() -> None:
    for name, path in RUNTIME.items():
        libraries = {i.split(".")[0] for i in imports_of(path)}
        assert not libraries & {"torch", "transformers", "peft", "accelerate", "gguf"}, name


def test_which_modules_of_the_offline_stage_import_training_libraries_and_a_conversion_loads_none() -> None:
    heavy = {"torch", "transformers", "peft", "accelerate", "tokenizers", "sentencepiece", "safetensors"}
    importing = {name for name, path in CONVERT.items() if {i.split(".")[0] for i in imports_of(path)} & heavy}
    verifying = "verification.transformers_model verification.transformers_tokenizer"
    training = "data.tensors data.batch_builder loss token_rows loop trainer memory_plan state step model"
    both = {f"genrec_edge.convert.{name}" for name in verifying.split()}
    both |= {f"genrec_edge.convert.training.{name}" for name in training.split()}
    assert importing == both
    loaded = loaded_by("import genrec_edge.convert.pipeline.run, genrec_edge.convert.pipeline.adapter_job")
    assert {"genrec_edge.convert.pipeline.steps", "gguf"} <= loaded
    heavy.remove("sentencepiece")  # the gguf package loads it where it finds it
    assert loaded.isdisjoint({*heavy, *both, "matplotlib"})


def test_only_the_command_line_prints() -> None:
    for name, path in modules().items():
        if package_of(name) in PRINTERS or name in SCRIPTS:
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
    assert {"genrec_edge.recommender", "genrec_edge.catalog.reader", "numpy"} <= loaded
    assert loaded.isdisjoint({"llama_cpp", "torch", "transformers", "rich", "typer", "sqlite_utils"})


@pytest.mark.slow
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
