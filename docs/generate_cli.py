"""Writes the tables of commands and options in docs/cli.md from the commands themselves.

    python docs/generate_cli.py          write them
    python docs/generate_cli.py --check  exit 1, with what differs, if they are not what the commands say

A table stands between `<!-- options: COMMAND -->`, or `<!-- commands -->`, and `<!-- end -->`; the rest is prose.
An option that a command shares with `recommend`, with the same help, is described there alone.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Any

import typer

from genrec_edge import cli

CLI_PATH = Path(__file__).with_name("cli.md")
DESCRIBED_ONCE = "recommend"

_PLACEHOLDERS = {"int": "N", "int range": "N", "float": "X", "float range": "X"}
_BLOCK = re.compile(r"<!-- (commands|options: [a-z ]+) -->\n.*?<!-- end -->", re.DOTALL)


def commands() -> dict[str, Any]:
    """Return every command of the program by its words, such as "catalog build", in the order of `--help`."""
    return _commands_below(typer.main.get_command(cli.app), ())


def _commands_below(group: Any, words: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= _commands_below(command, (*words, name))
        else:
            found[" ".join([*words, name])] = command
    return found


def commands_table(by_name: dict[str, Any]) -> str:
    """Return a table with the first sentence of each command's help."""
    rows = [f"| `genrec-edge {name}` | {_cell(_first_sentence(by_name[name].help))} |" for name in by_name]
    return "\n".join(["| Command | What it does |", "|---|---|", *rows])


def options_table(name: str, by_name: dict[str, Any]) -> str:
    """Return the table of one command's arguments and options, and a line that names those it shares."""
    rows = _rows(name, by_name[name])
    described = {} if name == DESCRIBED_ONCE else _rows(DESCRIBED_ONCE, by_name[DESCRIBED_ONCE])
    own = [row for key, row in rows.items() if described.get(key) != row]
    shared = [f"`{key}`" for key, row in rows.items() if described.get(key) == row]
    parts = []
    if own:
        parts.append("\n".join(["| Option | What it does | Default |", "|---|---|---|", *own]))
    if shared:
        parts.append(f"As for [`{DESCRIBED_ONCE}`](#{DESCRIBED_ONCE}): {', '.join(shared)}.")
    return "\n\n".join(parts)


def _rows(name: str, command: Any) -> dict[str, str]:
    """Return the row of each parameter by its longest name, in the order of `--help`."""
    context = command.make_context(name, [], resilient_parsing=True)
    rows = {}
    for parameter in command.params:
        if parameter.name == "help" or parameter.hidden:
            continue
        row = f"| `{_cell(_spelling(parameter, context))}` | {_cell(parameter.help)} | {_default(parameter)} |"
        rows[max(parameter.opts, key=len)] = row
    return rows


def _spelling(parameter: Any, context: Any) -> str:
    """Return how a parameter is typed: `-H, --history TITLE`, or `ITEM...` for an argument."""
    shown: str = parameter.get_help_record(context)[0]
    if parameter.param_type_name == "argument":
        return shown.split(" ", maxsplit=1)[0].upper()  # without its type
    return re.sub(r"<([^>]+)>$", lambda match: _PLACEHOLDERS.get(match[1], match[1]), shown)


def _default(parameter: Any) -> str:
    """Return the value of a parameter that is left out, or "" where there is none to show."""
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or value == "" or callable(value):
        return ""
    if value is True:
        return f"`{parameter.opts[0]}`"
    return f"`{value}`"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


def _cell(text: str) -> str:
    """Return a text as it stands in a cell of a table: in one line, with its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def with_tables(text: str) -> str:
    """Return a document with all of its tables written anew.

    Raises:
        ValueError: a table of a command that does not exist, or a command without a table.
    """
    by_name = commands()
    wanted = {"commands", *(f"options: {name}" for name in by_name)}
    marks = [match[1] for match in _BLOCK.finditer(text)]
    problems = [f"no command for <!-- {mark} -->" for mark in marks if mark not in wanted]
    problems += [f"<!-- {mark} --> ... <!-- end --> is missing" for mark in sorted(wanted - set(marks))]
    problems += [f"<!-- {mark} --> is there twice" for mark in sorted(set(marks)) if marks.count(mark) > 1]
    if problems:
        raise ValueError("; ".join(problems))

    def block(match: re.Match[str]) -> str:
        mark = match[1]
        name = mark.removeprefix("options: ")
        table = commands_table(by_name) if mark == "commands" else options_table(name, by_name)
        return f"<!-- {mark} -->\n\n{table}\n\n<!-- end -->"

    return _BLOCK.sub(block, text)


def differences(text: str) -> str:
    """Return what `with_tables` would change in a document, as a unified diff; "" if nothing."""
    old, new = text.splitlines(), with_tables(text).splitlines()
    return "\n".join(difflib.unified_diff(old, new, "cli.md", "the commands", n=1, lineterm=""))


def main(arguments: list[str]) -> int:
    """Write the tables, or with `--check` compare them; return the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate_cli.py [--check]", file=sys.stderr)
        return 2
    text = CLI_PATH.read_text(encoding="utf-8")
    try:
        if not arguments:
            CLI_PATH.write_text(with_tables(text), encoding="utf-8")
            return 0
        found = differences(text)
    except ValueError as error:
        print(f"{CLI_PATH.name}: {error}", file=sys.stderr)
        return 1
    if found:
        print(f"{found}\nrun: python docs/generate_cli.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
