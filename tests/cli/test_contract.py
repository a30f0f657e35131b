"""The contract of the command line: each wrong call has its documented exit code and one line, or one JSON object."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import typing
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from docs.generate_cli import commands
from genrec_edge import cli
from tests.support.commands import installed_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline_home")]

COMMANDS = commands()
PROGRAM = typer.main.get_command(cli.app)  # once: Typer takes longer to build it than it takes to run
ERROR_KEYS = {"code", "exit", "message", "hint"}


def call(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        PROGRAM.main(list(arguments), "genrec-edge")
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def check(arguments: Sequence[str], exit_code: int, message: str = "") -> None:
    """Check both forms of an error; nothing of a wrong call is on the other stream."""
    code, out, err = call(arguments)
    assert (code, out) == (exit_code, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    code, out, err = call([*arguments, "--json"])
    assert (code, err) == (exit_code, ""), out
    document = json.loads(out)
    assert (document["schema"], document.keys()) == ("genrec-edge/error@1", {"schema", "error"})
    error = document["error"]
    assert (error["exit"], error.keys()) == (exit_code, ERROR_KEYS)
    assert message in error["message"] + error["hint"]
    assert out.count("\n") == 1


def parameters(name: str) -> list[Any]:
    return [p for p in COMMANDS[name].params if p.name != "help"]


def spelled(parameter: Any) -> str:
    return str(max(parameter.opts, key=len))


def required(name: str, *, but: Any = None) -> list[str]:
    """Return the least that a command takes, with values that name nothing, and without one parameter."""
    words: list[str] = []
    for parameter in parameters(name):
        if parameter.required and parameter is not but:
            words += ["x"] if parameter.param_type_name == "argument" else [spelled(parameter), "x"]
    return words


def unreadable_values(parameter: Any) -> Iterator[str]:
    """Yield values that an option cannot have, whatever else is said."""
    kind = parameter.type_descriptor.annotation
    kind = typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind
    if kind in {int, float}:
        yield "abc"
        yield ""
        if kind is int:
            yield "1.5"
        if parameter.min is not None:
            yield str(parameter.min - 1)
    elif typing.get_origin(kind) is typing.Literal:
        yield "nonsense"


def calls_not_understood() -> Iterator[tuple[str, list[str], str]]:
    """Yield (name, arguments, what the message names) of calls that are wrong in their form alone."""
    for name in COMMANDS:
        words = name.split()
        yield f"{name}, unknown option", [*words, *required(name), "--no-such-option"], "--no-such-option"
        if not any(p.nargs == -1 for p in parameters(name)):
            n_arguments = sum(p.param_type_name == "argument" for p in parameters(name))
            more = ["x"] * (n_arguments + 1)
            yield f"{name}, too many arguments", [*words, *required(name), *more], "unexpected extra argument"
        for parameter in parameters(name):
            if parameter.required:
                yield f"{name}, no {spelled(parameter)}", [*words, *required(name, but=parameter)], "missing"
            if parameter.param_type_name == "argument" or parameter.is_flag:
                continue
            option = spelled(parameter)
            for value in unreadable_values(parameter):
                yield f"{name} {option} {value!r}", [*words, *required(name), option, value], parameter.opts[0]
    for group in sorted({name.split()[0] for name in COMMANDS if " " in name}):
        yield f"{group}, no such command", [group, "nonsense"], "nonsense"
    yield "no such command", ["nonsense"], "nonsense"


NOT_UNDERSTOOD = list(calls_not_understood())


ASK = "--model {m} --catalog {c} --threads 1"
WRONG_TEXT = """
2  recommend ASK -k 0                                     | -k must be at least 1
2  recommend ASK -k -3                                    | -k must be at least 1
3  recommend ASK -k 99                                    | 99 items asked for
2  recommend ASK --threads 0                              | --threads
2  recommend ASK --ctx 1                                  | --ctx
2  recommend ASK --ctx 99999999                           | --ctx
2  recommend ASK --budget -1                              | --budget
2  recommend ASK --temperature -1                         | --temperature
10 recommend ASK --timeout 0                              | --timeout
2  recommend ASK --timeout nan                            | --timeout
2  recommend ASK --calibrate -1                           | --calibrate
2  recommend ASK --calibrate inf                          | --calibrate
2  recommend ASK --min-rating nan                         | --min-rating
2  recommend ASK --prior none --prior-weight 1            | --prior-weight
2  recommend ASK --prior sequence                         | --prior
2  recommend ASK --prior-file {none}                      | {none}
2  recommend ASK --prior-file {dir}                       | {dir}
2  recommend ASK --prior-file {loop}                      | {loop}
16 recommend ASK --prior-file {text}                      | {text}
16 recommend ASK --prior-file {c}                         | {c}
2  recommend ASK --where nonsense                         | nonsense
2  recommend ASK --where ""                               | --where
2  recommend ASK --where "1; DROP TABLE items"            | DROP
2  recommend ASK --context tonight                        | NAME=WORDS
2  recommend ASK --intent ""                              | --intent
2  recommend ASK --preference " "                         | --preference
3  recommend ASK --exclude "No such film"                 | No such film
3  recommend ASK --candidate "No such film"               | No such film
3  recommend ASK -H "No such film"                        | none of the 1 titles
2  recommend ASK --history-file {none}                    | {none}
2  recommend ASK --history-file {dir}                     | {dir}
2  recommend ASK --history-file {loop}                    | {loop}
2  recommend ASK --history-file {latin1}                  | UTF-8
2  recommend ASK --history-file {badjson}                 | line 2
2  recommend ASK --history-file ""                        | --history-file
2  recommend ASK --profile nobody                         | nobody
2  recommend ASK --adapter {none}                         | {none}
2  recommend ASK --adapter {dir}                          | {dir}
5  recommend ASK --adapter {m}                            | adapter
5  recommend ASK --adapter {text}                         | {text}
2  recommend --catalog {c} --model {none}.gguf            | {none}
5  recommend --catalog {c} --model {textgguf}             | {textgguf}
5  recommend --catalog {c} --model {dirgguf}              | {dirgguf}
4  recommend --catalog {c} --model no-such-model          | no-such-model
2  recommend --catalog {c} --model ""                     | model's name
2  recommend --catalog {c} --model {loop}.gguf            | {loop}
2  recommend --model {m} --catalog {none}                 | {none}
2  recommend --model {m} --catalog {dir} | {dir}
2  recommend --model {m} --catalog {loop}                 | {loop}
6  recommend --model {m} --catalog {text}                 | {text}
6  recommend --model {m} --catalog {foreign}              | {foreign}
6  recommend --model {m} --catalog {emptydb}              | {emptydb}
6  recommend --model {m} --catalog {corrupt}              | {corrupt}
12 recommend --catalog {c} --offline                      | network is forbidden
2  batch {none} -o {new}.jsonl ASK                              | {none}
2  batch {dir} -o {new}.jsonl ASK                               | {dir}
2  batch {loop}.jsonl -o {new}.jsonl ASK                        | {loop}
2  batch {text} -o {new}.jsonl ASK                              | {text}
2  batch {badjson} -o {new}.jsonl ASK                           | line
2  batch {users} -o {users} ASK                           | {users}
2  batch {users} -o {text} ASK                            | {text}
2  batch {users} -o {m} ASK --force                    | {m}
2  batch {users} -o {dir} ASK                             | {dir}
2  batch {users} -o {under}/x.jsonl ASK                   | {under}
2  batch {users} -o {new}.jsonl ASK --workers 0                 | --workers
2  batch {users} -o {new}.jsonl ASK --address 1.2.3.4:5         | --address
2  batch {users} -o {new}.jsonl ASK -k 0                        | -k
2  rerank --candidates {none} ASK                         | {none}
2  rerank --candidates {dir} ASK                          | {dir}
2  rerank --candidates {latin1} ASK                       | UTF-8
2  rerank --candidates {emptyfile} ASK                    | --candidates
3  rerank --candidates {unknown} ASK                      | none of the 1 candidates
2  judge ASK                                              | missing
3  judge "No such film" ASK                               | No such film
3  judge Heat "No such film" ASK -H Alien                 | No such film
3  compare Alien "No such film" ASK                       | No such film
2  compare Alien Alien ASK                                | same item
2  describe ASK                                           | --history
3  describe ASK -H "No such film"                         | none of the 1 titles
3  queries "No such film" ASK                             | No such film
2  resolve Alien --catalog {none}                         | {none}
6  resolve Alien --catalog {text}                         | {text}
2  bench ASK -n 1                                         | -n
2  bench ASK --history-length 99                          | items fit
2  bench ASK --where nonsense                             | nonsense
2  bench ASK -k 0                                         | -k
3  bench ASK -k 61 -n 2 --history-length 1                | items asked for
2  inspect {none}                                         | {none}
5  inspect {dir}                                          | {dir}
2  inspect {loop}                                         | {loop}
5  inspect {text}                                         | {text}
5  inspect {emptyfile}                                    | {emptyfile}
2  convert --base {none} --out {new} --license MIT        | {none}
5  convert --base {dir} --out {new} --license MIT         | {dir}
5  convert --base {textgguf} --out {new} --license MIT    | {textgguf}
2  convert --base {m} --out {new}                         | --license
2  convert --base {m} --out {dir} --license MIT           | {dir}
2  convert --base {m} --out {new} --license MIT --quant Q9  | Q9
2  convert --base {m} --out {new} --license MIT --name "a b"  | a b
2  convert --base {m} --out {new} --license MIT --keep-layers x  | x
2  convert --base {m} --out {new} --license MIT --adapter {none}  | {none}
2  convert --base {m} --out {new} --license MIT --as-adapter --keep-f16  | --keep-f16
2  train --data {none} --base {m} --out {new} --config {recipe} | {none}
2  train --data {d} --base {m} --out {new}                | base.layers includes layer 29
2  train --data {d} --base {none} --out {new}             | {none}
2  train --data {d} --base {m} --out {new} --recipe nonsense  | nonsense
2  train --data {d} --base {m} --out {new} --config {text}  | {text}
2  evaluate --data no-such-data                           | no-such-data
2  evaluate --data {dir}                                  | {dir}
2  evaluate --data {text}                                 | {text}
2  evaluate --data {d} --baselines nonsense               | nonsense
2  evaluate --data {d} --baselines none               | no systems
2  evaluate --data {d} --baselines popularity --users 0   | --users
2  evaluate --data {d} --baselines popularity --fit-first | --fit-first
2  evaluate --data {d} --baselines popularity --scores x  | --scores
2  evaluate --data {d} --baselines popularity --scores x={none}  | {none}
2  evaluate --data {d} --baselines popularity --negatives nonsense --candidates 3  | nonsense
2  evaluate --data {d} --baselines popularity --reference nonsense  | nonsense
4  evaluate --data {d} --model no-such-model              | no-such-model
2  evaluate --data {d} --baselines popularity --candidates 0  | --candidates
2  verdicts --data no-such-data --model {m}               | no-such-data
2  verdicts --data {d} --model {m} --record {none}        | {none}
2  verdicts --data {d} --model {m} --users 1              | --users
2  verdicts --data {d} --model {m} --plot {text}          | {text}
2  catalog build {none} -o {new}                          | {none}
2  catalog build {dir} -o {new}                           | {dir}
2  catalog build {loop} -o {new}                          | {loop}
2  catalog build {untitled} -o {new}                      | title
2  catalog build {latin1} -o {new}                        | {latin1}
2  catalog build {items} -o {c}                           | {c}
2  catalog build {items} -o {under}/x.db                  | {under}
2  catalog build {items} -o {dir}                         | {dir}
2  catalog build {items} -o {new} --title nonsense        | nonsense
2  catalog build {items} -o {new} --id nonsense           | nonsense
2  catalog build {items} -o {new} --list nonsense         | nonsense
2  catalog build {items} -o {new} --table t               | --table
2  catalog info --catalog {none}                          | {none}
6  catalog info --catalog {text}                          | {text}
2  catalog info --catalog {dir}                           | {dir}
2  catalog search Alien --catalog {none}                  | {none}
2  catalog search Alien --catalog {c} -k 0                | -k
2  catalog add --catalog {c}                              | nothing to add
2  catalog add {none} --catalog {c}                       | {none}
2  catalog add {items} --catalog {none}                   | {none}
2  catalog add {items} --catalog {c} --set a=b            | --set
2  catalog add --title X --year abc --catalog {c}         | --year
2  catalog add --title X --set nonsense --catalog {c}     | --set
2  catalog add --title X --set nonsense=1 --catalog {c}   | nonsense
2  catalog add --title X --set year=1990 --catalog {c}    | --year
2  catalog remove no-such-id --catalog {c}                | no-such-id
2  catalog remove x --catalog {none}                      | {none}
2  models pull nonsense                                   | nonsense
12 models pull --offline                                  | network
4  models path nonsense                                   | nonsense
4  models verify nonsense                                 | nonsense
4  models rm nonsense                                     | nonsense
2  data pull nonsense                                     | nonsense
12 data pull ml-100k --offline                            | network
2  data import --interactions {none} --items {items} --name n --license MIT  | {none}
2  data import --interactions {events} --items {none} --name n --license MIT  | {none}
2  data import --interactions {dir} --items {items} --name n --license MIT  | {dir}
2  data import --interactions {events} --items {items} --name "a/b" --license MIT  | a/b
2  data import --interactions {events} --items {items} --name n --license MIT --user nonsense  | nonsense
2  data import --interactions {events} --items {items} --name n --license MIT --out {dir}  | {dir}
2  data show nonsense                                     | nonsense
2  data show {dir}                                        | {dir}
2  data instructions --data nonsense --out {new}.jsonl    | nonsense
2  data instructions --data {d} --out {dir} -n 5             | {dir}
2  data instructions --data {d} --out {new} -n 0          | -n
4  data instructions --data {d} --out {new}.jsonl --teacher nonsense  | nonsense
2  data instructions --data {d} --out {text} -n 5      | {text}
2  prior build --data nonsense --out {new}                | nonsense
2  prior build --data {d} --out {text}                    | {text}
2  prior build --data {d} --out {under}/x                 | {under}
2  prior update --prior {none} --interactions {events}    | {none}
16 prior update --prior {text} --interactions {events}    | {text}
2  prior update --prior {dir} --interactions {events}     | {dir}
2  prior update --prior {p} --interactions {none}         | {none}
2  profile update ann                                     | no profile
2  profile update ann --history-file {none} --catalog {c} | {none}
2  profile update ann -H Alien --catalog {none}           | {none}
3  profile update ann -H "No such film" --catalog {c}     | none of the 1 titles
2  profile update ann -H Alien --catalog {c} --block 0    | --block
4  profile update ann -H Alien --catalog {c} --summarizer nonsense  | nonsense
2  profile show nobody                                    | nobody
2  profile forget nobody                                  | nobody
2  profile forget                                         | --all
2  profile forget ann --all                               | --all
"""


WRONG = [
    pytest.param(int(line[:3]), line[3:].replace("ASK", ASK).strip(), message.strip(), id=line.strip())
    for line, _, message in (row.partition(" | ") for row in WRONG_TEXT.strip().splitlines())
]


@pytest.fixture
def files(broken_files: Path, tiny_llama: Path, small_data: Path, tricky_path: Path, tmp_path: Path) -> dict[str, Path]:
    """Returns files by the names that the table uses: right ones, and what is not what it should be."""
    folder = tmp_path / "files"
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "x").touch()
    shutil.copy(tricky_path, folder / "c.db")
    (folder / "loop").symlink_to(folder / "loop")
    texts = {
        "text": "this is a text\n",
        "emptyfile": "",
        "unknown": "No such film\n",
        "users": '{"user": 1, "history": ["Alien"]}\n',
        "items": "id,title\n1,Alien\n2,Heat\n",
        "recipe": '[base]\nlayers = "0-1"\n',
        "events": "user,item,timestamp\n1,1,1\n1,2,2\n",
    }
    endings = {"users": ".jsonl", "items": ".csv", "events": ".csv", "recipe": ".toml"}
    named = {name: folder / f"{name}{endings.get(name, '.txt')}" for name in texts}
    for name, text in texts.items():
        named[name].write_text(text, encoding="utf-8")
    (folder / "loop.gguf").symlink_to(folder / "loop.gguf")
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    return named | {
        "m": tiny_llama,
        "c": folder / "c.db",
        "d": small_data,
        "p": folder / "p.db",
        "none": folder / "nothing",
        "new": folder / "new",
        "dir": folder / "folder",
        "under": named["text"],
        "loop": folder / "loop",
        "latin1": broken_files / "latin1.txt",
        "badjson": broken_files / "bad.jsonl",
        "untitled": broken_files / "untitled.csv",
        "textgguf": broken_files / "text.gguf",
        "dirgguf": broken_files / "folder.gguf",
        "foreign": broken_files / "foreign.db",
        "emptydb": broken_files / "empty.db",
        "corrupt": broken_files / "corrupt.db",
    }


@pytest.mark.parametrize(("exit_code", "command", "message"), WRONG)
def test_a_wrong_call_has_its_exit_code(exit_code: int, command: str, message: str, files: dict[str, Path]) -> None:
    names = {name: str(path) for name, path in files.items()}
    check([word.format(**names) for word in shlex.split(command)], exit_code, message.format(**names))


def test_the_calls_are_many() -> None:
    assert len(NOT_UNDERSTOOD) >= 250
    assert len(WRONG) >= 100


@pytest.mark.parametrize(("arguments", "message"), [pytest.param(a, m, id=name) for name, a, m in NOT_UNDERSTOOD])
def test_a_call_that_is_not_understood_names_the_option(arguments: list[str], message: str) -> None:
    check(arguments, 2, message)


RECOMMEND = "recommend --model {m} --catalog {c} --threads 1 -k 3 -q"
C_LOCALE = "env LANG=C LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
STREAMS = [
    (0, f"{RECOMMEND}", "0<&-"),
    (3, f"{RECOMMEND} --history-file - -H x", "0<&-"),
    (3, "resolve x --catalog {c}", "0<&-"),
    (8, f"{RECOMMEND}", ">/dev/full"),
    (8, f"{RECOMMEND} --json", ">/dev/full"),
    (8, "catalog info --catalog {c}", ">/dev/full"),
    (8, "catalog info --catalog {c} --json", ">/dev/full"),
    (8, "catalog info --catalog {none} --json", ">/dev/full"),
    (8, "recommend --bogus --json", ">/dev/full"),
    (8, "--version", ">/dev/full"),
    (8, "--version --json", ">/dev/full"),
    (8, "inspect {m} --metadata --tensors", ">/dev/full"),
    (0, "catalog info --catalog {c}", "| head -1"),
    (0, "inspect {m} --json", "| head -1"),
    (2, "recommend --bogus --json", "| head -1"),
    (2, "recommend --bogus", "2>/dev/full"),
    (0, f"{RECOMMEND}", "2>&-"),
    (2, "recommend --bogus", "2>&-"),
    (2, "catalog info --catalog {none}", "env -u HOME"),
    (0, f"{RECOMMEND} --json", "env -u HOME"),
    (0, "models list", "env -u HOME -u GENREC_EDGE_HOME"),
    (0, f"{RECOMMEND}", "env LANG=C LC_ALL=C PYTHONIOENCODING=ascii"),
    (3, f"{RECOMMEND} -H 千と", C_LOCALE),
    (3, f"{RECOMMEND} -H 千と --json", C_LOCALE),
    (2, "catalog info --catalog {none}é --json", C_LOCALE),
]
"""Exit code, command, and what is done to its streams or its environment."""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize(("exit_code", "command", "around"), STREAMS)
def test_whatever_the_streams_and_the_environment_are(
    exit_code: int, command: str, around: str, files: dict[str, Path], tmp_path: Path
) -> None:
    filled = f"{installed_command()} {command.format(**{name: str(path) for name, path in files.items()})}"
    script = f"{around} {filled}" if around.startswith("env ") else f"set -o pipefail; {filled} {around}"
    variables = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "xdg")}
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        check=False,
        timeout=300,
        env=variables,
        stdin=subprocess.DEVNULL,
    )
    err = done.stderr.decode(errors="replace")
    assert done.returncode in ({exit_code, 141} if "|" in around else {exit_code}), err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    is_json_on_stdout = "--json" in command and "full" not in around
    is_shown = exit_code != 0 and "2>" not in around and not is_json_on_stdout and "resolve" not in command
    assert len(errors) == is_shown, err
    if is_json_on_stdout:
        assert json.loads(done.stdout)["schema"].startswith("genrec-edge/")
