"""What README.md and docs/ show is true: commands, options, links, paths and Python exist, and none is left out."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

import genrec_edge
from genrec_edge import cli, errors, records
from genrec_edge.catalog import edit, writer
from genrec_edge.catalog.schema import CATALOG
from genrec_edge.hub.registry import load_registry
from genrec_edge.hub.store import ModelStore
from genrec_edge.prior.db import PRIOR
from genrec_edge.profiles.db import PROFILES
from genrec_edge.storage.migrations import expected_tables
from tests import test_architecture
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PYTHON = DOCS / "python.md"
DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "convert" / "README.md",
    ROOT / "genrec_edge" / "data" / "README.md",
    ROOT / "examples" / "goodbooks" / "README.md",
    ROOT / "models" / "genrec-films" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
_MAX_README_BYTES = 8192

_MENTION = re.compile(r"(?<![\w/.@-])genrec-edge(?= )[^\n`]*")
_OTHERS = {0: "ok", 1: "a bug", 141: "the reader has gone"}


def commands(group: Any = None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return all commands of the CLI by their words, groups included."""
    group = group or typer.main.get_command(cli.app)
    found = {path: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*path, name))
    return found


COMMANDS = commands()
LEAVES = sorted(path for path, command in COMMANDS.items() if not hasattr(command, "commands"))


def mentions(text: str) -> list[str]:
    """Return every command line in a document, in code blocks or between backticks; continued lines are joined."""
    return [match[0].strip() for match in _MENTION.finditer(text.replace("\\\n", " "))]


def command_words(line: str) -> list[str]:
    """Return the words of a command after its name, up to a pipe, a redirection or a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(itertools.takewhile(lambda word: not set(word) <= set("();<>|&"), lexer))[1:]


def problem(line: str) -> str:
    """Say what of a command line does not exist, or return ""."""
    try:
        words = command_words(line)
    except ValueError as e:
        return f"{line}: {e}"
    path: tuple[str, ...] = ()
    while words and (*path, words[0]) in COMMANDS:
        path = (*path, words.pop(0))
    command = COMMANDS[path]
    if hasattr(command, "commands") and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        return f"{line}: no command {words[0]!r}"
    options = {"--help", *(option for p in command.params for option in (*p.opts, *p.secondary_opts))}
    unknown = [word for word in words if re.match(r"--?[A-Za-z]", word) and word.split("=")[0] not in options]
    return f"{line}: no option {unknown[0]}" if unknown else ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_that_is_shown_exists(path: Path) -> None:
    assert [said for line in mentions(path.read_text(encoding="utf-8")) if (said := problem(line))] == []


def test_a_command_that_does_not_exist_would_be_seen() -> None:
    text = (
        "Run `genrec-edge recomend -k 3` or\n\n    genrec-edge recommend --historie x | head --lines 2\n"
        "    genrec-edge recommend --where 'year > 1' \\\n        --wher y > file\n"
        "and `genrec-edge catalog build f.csv -o c.db --title=t`, not ~/genrec-edge or genrec-edge."
    )
    assert [problem(line) for line in mentions(text)] == [
        "genrec-edge recomend -k 3: no command 'recomend'",
        "genrec-edge recommend --historie x | head --lines 2: no option --historie",
        "genrec-edge recommend --where 'year > 1'          --wher y > file: no option --wher",
        "",
    ]


_NOT_OURS = {"--num_processes", "--cpu", "--all-trials"}  # of accelerate and of tests/conftest.py


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_option_that_is_named_between_backticks_exists(path: Path) -> None:
    ours = {option for command in COMMANDS.values() for p in command.params for option in (*p.opts, *p.secondary_opts)}
    benchmarks = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "benchmarks").glob("*.py"))
    spans = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
    named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    unknown = named - ours - {"--help"} - _NOT_OURS
    assert [option for option in sorted(unknown) if f'"{option}"' not in benchmarks] == []


def test_every_command_is_shown() -> None:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/cli.md"))
    assert [" ".join(path) for path in LEAVES if f"genrec-edge {' '.join(path)}" not in text] == []


def test_every_command_and_option_has_help() -> None:
    for path, command in COMMANDS.items():
        assert command.help, path
        for parameter in command.params:
            assert parameter.help, (path, parameter.name)


def python_blocks(text: str) -> list[str]:
    """Return the blocks of Python, fenced or indented, that use the package."""
    fenced = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE)
    plain = ["\n".join(line[4:] for line in block.splitlines()).strip("\n") for block in indented]
    return [block for block in (*fenced, *plain) if re.search(r"^(?:from|import) genrec_edge", block, re.MULTILINE)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_python_that_is_shown_compiles_and_its_names_exist(path: Path) -> None:
    blocks = python_blocks(path.read_text(encoding="utf-8"))
    assert blocks or path not in {README, PYTHON}
    assert [wrong for block in blocks for wrong in wrong_names(block)] == []


def wrong_names(block: str) -> list[str]:
    """Return what a block of Python imports from the package or passes to a recommender, and does not exist."""
    wrong = []
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module == "genrec_edge":
            wrong += [alias.name for alias in node.names if not hasattr(genrec_edge, alias.name)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method = getattr(genrec_edge.Recommender, node.func.attr, None)
            parameters = inspect.signature(method).parameters if method else {}
            wrong += [str(k.arg) for k in node.keywords if method and k.arg not in parameters]
    return wrong


def test_python_that_names_nothing_would_be_seen() -> None:
    block = "from genrec_edge import Recomender\nwith R.open(model=None) as r:\n    r.recommend([], n=3, k=2)\n"
    assert python_blocks(f"Text\n\n```python\n{block}```\n") == [block]
    assert python_blocks("Text\n\n    from genrec_edge import x\n\n    x()\n\nMore\n") == [
        "from genrec_edge import x\n\nx()"
    ]
    assert wrong_names(block) == ["Recomender", "n"]


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    table = re.search(r"## Exit codes\n(.*?)\n## ", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.DOTALL)
    assert table
    documented = {int(cell) for cell in re.findall(r"\| (\d+) \|", table[1])}
    classes = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.GenRecError)]
    raised = {c.exit_code for c in classes if c is not errors.GenRecError}
    assert documented == raised | _OTHERS.keys()


def without_code(text: str) -> str:
    """Return a document without its fenced and indented blocks and what stands between backticks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """Return what links can name in a document: its headings, as GitHub writes them."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(
            slug if slug not in found else next(f"{slug}-{n}" for n in range(1, 99) if f"{slug}-{n}" not in found)
        )
    return found


def broken_links(path: Path) -> list[str]:
    """Return the relative links of a document whose file or heading does not exist."""
    broken = []
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        file = (path.parent / name) if name else path
        if not file.exists() or (heading and heading not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_relative_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# The `one` idea\n\n## Same\n\n## Same\n", encoding="utf-8")
    page = tmp_path / "b.md"
    page.write_text("[x](a.md#the-one-idea) [x](a.md#same-1) [x](a.md#same-2) [x](c.md) [x](#no) [x](https://no.md)")
    assert broken_links(page) == ["a.md#same-2", "c.md", "#no"]


_PATH = re.compile(r"(?<![\w./<~-])(?:genrec_edge|convert|models|benchmarks|tests|docs|\.ci)/[\w./*-]*\w(?:/|\b)")


_BEFORE = re.compile(r"\((?:`\w+` )?was\s[^)]*\)")


def missing_paths(text: str) -> list[str]:
    """Return the files and folders of the repository that a text names and that do not exist."""
    return [found for found in _PATH.findall(text) if not any(ROOT.glob(found.rstrip("/")))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_path_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = re.sub(_BEFORE, "", text)  # of the changelog: what is not there any more
    assert missing_paths(re.sub(r"https?://\S+", "", text)) == []


def test_the_modules_that_moved_are_where_the_changelog_says() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    moved = [
        f"{folder}{name}.py"
        for folder, names in re.findall(r"^- `([\w/]+/)`: ((?:.|\n  )*)", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", re.sub(_BEFORE, "", names))
    ]
    assert len(moved) > 150
    assert missing_paths(" ".join(moved)) == []


def test_a_path_that_does_not_exist_would_be_seen() -> None:
    text = "`genrec_edge/engine/nothing.py` and convert/lora/, models/recipes/*.toml and tests/nowhere/."
    assert missing_paths(text) == ["genrec_edge/engine/nothing.py", "tests/nowhere/"]


def test_the_readme_is_short_and_each_of_its_commands_is_one_line() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.encode()) <= _MAX_README_BYTES
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)*^ {4}.*\n(?:^(?: {4}.*)?\n)*", outside, re.MULTILINE)
    lines = [[line for line in block.splitlines() if line] for block in blocks]
    commands = [block for block in lines if re.match(r" {4}(genrec-edge|python|pip|git|export)", block[0])]
    assert len(commands) >= 8
    assert [block for block in commands if len(block) > 1] == []
    for mark in ("install", "test"):  # as .ci/run reads them
        assert re.search(rf"^<!-- {mark} -->\n\n {{4}}\S.*\n\n", text, re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_page_with_figures_of_models_says_for_which_instructions_llama_cpp_was_built(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tables = re.findall(r"^ *\|.*(?:HR@10|tokens/s).*", text, re.MULTILINE)
    assert not tables or "AVX2" in text, tables[0]


def test_the_index_of_documents_names_all_of_them() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("*.md") if path.name != "README.md" and f"]({path.name})" not in text] == []
    records_text = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    numbered = sorted(path.name for path in (DOCS / "decisions").glob("0*.md"))
    assert [name for name in numbered if f"({name})" not in records_text] == []
    assert [int(name[:4]) for name in numbered] == list(range(1, len(numbered) + 1))


def test_the_architecture_names_every_package_and_the_order_that_is_tested() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for name in ("RUNTIME_ORDER", "CONVERT_ORDER"):
        found = re.search(rf"<!-- order: {name} -->\n\n {{4}}(.*)\n", text)
        assert found
        assert found[1].split() == getattr(test_architecture, name).split()
    folders = {path.parent for stage in ("genrec_edge", "convert") for path in (ROOT / stage).rglob("*/__init__.py")}
    folders -= {ROOT / "genrec_edge", ROOT / "convert"}
    assert [name_of(path) for path in folders if f"`{name_of(path)}/`" not in text] == []


def section(title: str) -> str:
    """Return what stands in docs/python.md below a heading, up to the next of the same or a higher level."""
    text = PYTHON.read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/python.md has no heading {title!r}"
    return found[2]


def code_of(title: str) -> str:
    """Return what stands between backticks in a section of docs/python.md."""
    return " ".join(re.findall(r"`[^`]+`", re.sub(r"^```.*?^```", "", section(title), flags=re.MULTILINE | re.DOTALL)))


def test_every_public_name_is_documented() -> None:
    text = PYTHON.read_text(encoding="utf-8")
    assert [name for name in genrec_edge.__all__ if f"`{name}`" not in text and f"[`{name}`]" not in text] == []


def parameters_of(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_method_of_a_recommender_is_documented_with_its_arguments() -> None:
    kind = genrec_edge.Recommender
    methods = {name: getattr(kind, name) for name, value in vars(kind).items() if not name.startswith("_")}
    methods = {name: value for name, value in methods.items() if callable(value)}
    assert {"recommend", "judge", "open", "resolve"} <= methods.keys()
    undocumented = []
    for name, method in methods.items():
        text = code_of(name)
        undocumented += [f"{name}: {p}" for p in parameters_of(method) if not re.search(rf"\b{p}\b", text)]
    assert undocumented == []


def test_every_method_and_property_of_a_catalog_is_documented() -> None:
    text = code_of("Catalog")
    names = [name for name in vars(genrec_edge.Catalog) if not name.startswith("_")]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_functions_that_change_a_catalog_are_documented_with_their_arguments() -> None:
    text = section("Make and change a catalog")
    for function in (writer.build, edit.add, edit.add_item, edit.remove):
        shown = re.search(rf"`{function.__name__}\(([^`]*)\)`", text)
        assert shown, function.__name__
        names = [part.split("=")[0].strip() for part in re.split(r",(?![^(]*\))", shown[1])]
        assert names == parameters_of(function)
    assert [f.name for f in dataclasses.fields(writer.BuildReport) if f"`{f.name}`" not in text] == []


def test_every_field_of_a_record_is_documented() -> None:
    text = PYTHON.read_text(encoding="utf-8")
    kinds: list[Any] = [*vars(records).values(), genrec_edge.Request]
    kinds = [kind for kind in kinds if inspect.isclass(kind) and dataclasses.is_dataclass(kind)]
    fields = [(kind, field.name) for kind in kinds for field in dataclasses.fields(kind)]
    assert len(fields) > 60
    for kind, name in fields:
        where = (
            section(kind.__name__) if f" {kind.__name__}\n" in text else text
        )  # small ones stand where they are used
        assert f"`{name}`" in where, f"{kind.__name__}.{name}"


def test_the_errors_of_the_library_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w-]+) \| (\d+) \|", section("Errors"), re.MULTILINE)
    kinds = [value for value in vars(errors).values() if inspect.isclass(value)]
    wanted = {(k.__name__, k.code, str(k.exit_code)) for k in kinds if issubclass(k, errors.GenRecError)}
    assert set(rows) == wanted - {("GenRecError", "error", "1")}


def examples(text: str) -> list[tuple[str, str | None]]:
    """Return the fenced Python of a document, each with the text that is shown as its output, None where none is."""
    found = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.MULTILINE | re.DOTALL)
    return [(code, shown or None) for code, shown in found]


def test_python_is_shown_in_fences_where_it_is_run() -> None:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        run = [code for code, _ in examples(text)]
        assert [block for block in python_blocks(text) if block not in run] == [], path


WITH_EXAMPLES = [path for path in DOCUMENTS if examples(path.read_text(encoding="utf-8"))]


@pytest.mark.model
@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=name_of)
def test_the_python_that_is_shown_runs_and_prints_what_is_shown(
    path: Path, default_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All examples of a document in one namespace, one after the other, with the default model."""
    assert ModelStore().get(load_registry().default)[0] == default_model
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code, shown in examples(path.read_text(encoding="utf-8")):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, name_of(path), "exec"), names)
        assert shown is None or printed.getvalue() == shown, code


def test_the_sqlite_files_are_described_with_their_ids_and_versions() -> None:
    text = (DOCS / "formats.md").read_text(encoding="utf-8")
    for kind, heading in ((CATALOG, "Catalog"), (PRIOR, "Prior"), (PROFILES, "Profiles")):
        found = re.search(rf"^## {heading}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
        assert found
        described = " ".join(found[1].split())
        assert f"(0x{kind.application_id:08x})" in described
        assert f"`user_version` is {kind.version}" in described
    tables = {name for kind in (PRIOR, PROFILES) for name in expected_tables(kind.migrations)}
    assert {name for name in tables if f"| `{name}` |" not in text} <= {"events_once"}  # an index


def sessions(text: str) -> list[tuple[str, str]]:
    """Return each indented command line that begins with "$", and what is shown below it."""
    return re.findall(r"^ {4}\$ (genrec-edge .*)\n((?: {4}(?!\$ ).*\n)+)", text, re.MULTILINE)


def words_of(output: str) -> list[str]:
    """Return the lines of an output, sorted, without what depends on machine and window: numbers, genres, spaces."""
    lines = []
    for line in output.splitlines():
        # Genres are cut to the width of the window.
        short = re.sub(r"(?<=\s\d{4}) .*?(?= (?:yes|no)? *(?:-\d|  (?:facts|liked|known|model)))", "", line)
        short = re.sub(r"^ *(?:the exact top|as written:|the model met) .*", "", short)  # not always shown
        short = re.sub(r"[-+]?\d+\.\d+%?|\d+%", "N", short)
        lines += re.sub(r"\bperhaps\b|\(\d{4}\),?", "", short).split("─")[0:1]
    return sorted(" ".join(line.split()) for line in lines if line.strip())


@pytest.mark.model
def test_the_answers_that_are_shown_are_those_that_are_given(
    default_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", "0")  # a prompt read from disk moves scores by some hundredths
    monkeypatch.setenv("GENREC_EDGE_PROFILES", str(tmp_path / "profiles.db"))
    monkeypatch.setenv("GENREC_EDGE_CACHE", str(tmp_path / "cache"))  # `profile forget` empties it of prompts
    titles = ["The Terminator", "Babe", "2001: A Space Odyssey", "Sense and Sensibility"]
    (tmp_path / "shelf.txt").write_text("\n".join(titles), encoding="utf-8")
    readme, words = (path.read_text(encoding="utf-8") for path in (README, DOCS / "words.md"))
    watched = re.search(r"^ {4}\$ cat watched\.txt\n((?: {4}(?!\$ ).*\n)+)", words, re.MULTILINE)
    assert watched
    (tmp_path / "watched.txt").write_text(watched[1].replace("    ", ""), encoding="utf-8")
    first = re.search(r"&& (genrec-edge recommend .*)\n(?:.*\n)*?## First answer\n\n((?: {4}.*\n)+)", readme)
    assert first
    shown = [(first[1], first[2]), *sessions(words)]
    assert sum("profile" in command for command, _ in shown) == 3
    assert len(shown) > 10
    for command, answer in shown:
        done = CliRunner().invoke(cli.app, command_words(command))
        assert done.exit_code == (3 if " resolve " in command else 0)  # one of the titles is ambiguous
        assert words_of(done.output) == words_of(answer), command


def test_every_schema_that_is_named_exists() -> None:
    sources = [path for stage in ("genrec_edge", "convert", "models") for path in (ROOT / stage).rglob("*.*")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources if path.suffix in {".py", ".json"})
    named = {
        schema
        for path in DOCUMENTS
        for schema in re.findall(r"genrec-edge/[\w-]+@\d+", path.read_text(encoding="utf-8"))
    }
    assert "genrec-edge/manifest@1" in named
    assert sorted(schema for schema in named if schema not in code) == []
