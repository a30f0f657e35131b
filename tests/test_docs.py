"""What README.md and docs/ show can be typed: commands, options, Python and exit codes exist, and none is left out."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer

import genrec_edge
from genrec_edge import cli, errors
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "convert" / "README.md",
    ROOT / "models" / "genrec-films" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

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


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
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


def test_the_python_of_the_readme_compiles_and_its_names_exist() -> None:
    blocks = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        assert wrong_names(block) == []


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


def test_links_to_files_of_the_repository_are_not_broken() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
