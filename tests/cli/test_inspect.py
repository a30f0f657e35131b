"""`genrec-edge inspect`: what is printed of any GGUF file, and that no malformed one hangs or blows it up."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.types import ArrayInfo
from tests.support.commands import installed_command
from tests.support.gguf_files import NOT_RUNNABLE, PROVENANCE, write_small_adapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result as Ran


def inspect(path: Path | str, *options: str) -> Ran:
    """Run the command in this process; nothing but our own exits may happen."""
    result = CliRunner().invoke(cli.app, ["inspect", str(path), *options])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def inspect_json(path: Path | str, *options: str) -> dict[str, Any]:
    result = inspect(path, "--json", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    return cast("dict[str, Any]", json.loads(result.stdout))


def table(result: Ran) -> dict[str, str]:
    """Return the summary as label and value; folded values are joined."""
    assert (result.exit_code, result.stderr) == (0, "")
    printed = [line.rstrip() for line in result.stdout.splitlines()]
    heading, rule, *lines = printed[1 : printed.index("", 1)]
    assert heading.split() == ["field", "value"]
    start = heading.index("value")
    assert set(rule.strip()) == {"─"}
    rows: dict[str, str] = {}
    for line in lines:
        label = line[:start].strip() or next(reversed(rows))
        rows[label] = f"{rows.get(label, '')} {line[start:].strip()}".strip()
    return rows


def test_a_person_reads_what_it_is_and_where_it_comes_from(described_gguf: Path) -> None:
    rows = table(inspect(described_gguf))
    assert rows.pop("file").replace(" ", "") == str(described_gguf)
    assert rows == {
        "size": f"0.0 MB ({described_gguf.stat().st_size:,} bytes), GGUF 3",
        "kind": "model",
        "runs here": "yes",
        "name": "Tiny Films",
        "basename": "films",
        "size label": "135M",
        "licence": "apache-2.0",
        "quantized by": "genrec-edge 0.1.0",
        "made from": "https://example.org/first, Second",
        "architecture": "llama",
        "file type": "F32",
        "parameters": "0.0 M (1,400)",
        "context": "64",
        "layers": "1",
        "width": "8",
        "feed-forward": "16",
        "heads": "2",
        "heads of keys and values": "1",
        "tokenizer": "gpt2 smollm",
        "vocabulary": "100 tokens",
        "chat template": "11 characters",
        "genrec_edge.prompt_version": "titles-1",
        "genrec_edge.adapter.0.name": "films-lora",
        "genrec_edge.layers": "0-7,28,29",
        "genrec_edge.train.seed": "7",
        "genrec_edge.train.hit@10": "0.25",
    }


def test_types_have_their_share(described_gguf: Path) -> None:
    lines = [line.split() for line in inspect(described_gguf).stdout.splitlines()]
    assert ["type", "tensors", "bytes", "share"] in lines
    assert lines[-3:-1] == [["F32", "10", "2,400", "60.0%"], ["F16", "1", "1,600", "40.0%"]]


def test_keys_and_tensors_are_listed_on_request(described_gguf: Path) -> None:
    short = inspect(described_gguf).stdout
    assert "tokenizer.ggml.eos_token_id" not in short
    assert "token_embd.weight" not in short
    lines = inspect(described_gguf, "--metadata", "--tensors").stdout.splitlines()
    keys = [line.partition(" = ")[0] for line in lines if " = " in line]
    assert keys == list(read_header(described_gguf).metadata)
    for line in (
        "tokenizer.ggml.eos_token_id = 2",
        "tokenizer.ggml.add_bos_token = False",
        "tokenizer.ggml.tokens = (100 of string)",
        "llama.attention.layer_norm_rms_epsilon = 1e-05",
        "tokenizer.chat_template = {{ 1 / 0 }}",
        "token_embd.weight         F16      8 x 100  1,600 bytes",
        "output_norm.weight        F32      8  32 bytes",
    ):
        assert line in lines


def test_the_json_object_is_the_documented_one(described_gguf: Path) -> None:
    document = inspect_json(described_gguf)
    assert document.pop("metadata")
    assert document.pop("tensors")
    assert document == {
        "schema": "genrec-edge/inspect@1",
        "path": str(described_gguf),
        "size_bytes": described_gguf.stat().st_size,
        "sha256": None,
        "gguf_version": 3,
        "kind": "model",
        "runs": True,
        "why_not": None,
        "architecture": "llama",
        "file_type": "F32",
        "n_params": 1400,
        "general": {
            "name": "Tiny Films",
            "basename": "films",
            "size_label": "135M",
            "license": "apache-2.0",
            "quantized_by": "genrec-edge 0.1.0",
        },
        "base_models": ["https://example.org/first", "Second"],
        "model": {
            "context_length": 64,
            "layers": 1,
            "width": 8,
            "feed_forward": 16,
            "heads": 2,
            "kv_heads": 1,
        },
        "tokenizer": {"model": "gpt2", "pre": "smollm", "n_tokens": 100, "chat_template_characters": 11},
        "adapter": None,
        "provenance": {key.removeprefix("genrec_edge."): value for key, value in PROVENANCE.items()},
        "types": [
            {"type": "F32", "tensors": 10, "bytes": 2400, "share": 0.6},
            {"type": "F16", "tensors": 1, "bytes": 1600, "share": 0.4},
        ],
    }


def test_the_sha256_is_read_on_request(described_gguf: Path) -> None:
    expected = hashlib.sha256(described_gguf.read_bytes()).hexdigest()
    assert inspect_json(described_gguf, "--sha256")["sha256"] == expected
    assert table(inspect(described_gguf, "--sha256"))["sha256"].replace(" ", "") == expected


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    NOT_RUNNABLE,
)
def test_what_does_not_run_is_well_formed_all_the_same(
    tmp_path: Path, tiny_gguf: Callable[..., Path], options: dict[str, Any], kind: str, why: str
) -> None:
    path = tiny_gguf(tmp_path / "a.gguf", **options)
    rows = table(inspect(path))
    assert (rows["kind"], rows["runs here"]) == (kind, f"no: {why}")


def test_an_adapter_shows_rank_alpha_and_what_it_changes(tmp_path: Path) -> None:
    path = write_small_adapter(tmp_path / "a.gguf")
    rows = table(inspect(path))
    assert rows["runs here"] == "on the llama model it was made for, with recommend --adapter"
    assert (rows["adapter"], rows["alpha"], rows["rank"]) == ("lora", "16", "4, 8")
    assert rows["changes"] == "3 matrices: attn_q, output"
    broken = write_small_adapter(tmp_path / "b.gguf", alpha=0.0)
    assert table(inspect(broken))["runs here"] == "no: adapter.lora.alpha is 0.0, not a float32 other than 0"


def test_metadata_cannot_steer_the_terminal(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    nasty = "x\x1b[2J\x1b]0;owned\x07\u202e\n\x9b31my"
    keys = {"general.name": nasty, "general.license": [nasty], f"genrec_edge.{nasty}": nasty, nasty: nasty}
    tensors = {"t\x1b[2J": np.zeros(8, np.float32)}
    path = tiny_gguf(tmp_path / "a.gguf", architecture=f"a{nasty}", keys=keys, tensors=tensors)
    for line in inspect(path, "--metadata", "--tensors").stdout.splitlines():
        assert all(character.isprintable() for character in line), line
    assert inspect_json(path)["general"]["name"] == nasty


def test_long_texts_are_cut_in_lists_and_whole_in_json(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    path = tiny_gguf(tmp_path / "a.gguf", keys={"general.name": "n" * 100_000})
    assert len(inspect(path, "--metadata").stdout) < 10_000
    assert "(100,000 characters)" in inspect(path, "--metadata").stdout
    assert len(inspect_json(path)["general"]["name"]) == 100_000


def test_numbers_json_cannot_say_become_null(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    path = tiny_gguf(tmp_path / "a.gguf", keys={"x.nan": float("nan"), "x.list": [float("inf"), 1.0]})
    metadata = inspect_json(path)["metadata"]
    assert (metadata["x.nan"], metadata["x.list"]) == (None, [None, 1.0])


# The array claims 2^44 elements; GGUFReader of the `gguf` package 0.19.0 walks them one by one.
HANGS_OTHERS = (
    b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 3) + b"abc" + struct.pack("<IIQ", 9, 0, 1 << 44)
)


@pytest.mark.parametrize(
    ("name", "exit_code", "message"),
    [
        ("none.gguf", 2, "none.gguf: No such file or directory"),
        ("x" * 300, 2, "File name too long"),
        ("folder", 5, "folder is not a regular file"),
        ("pipe", 5, "pipe is not a regular file"),
        ("/dev/zero", 5, "/dev/zero is not a regular file"),
        ("empty.gguf", 5, "not a GGUF file: it starts with b''"),
        ("random.gguf", 5, "not a GGUF file"),
        ("hangs.gguf", 5, "'abc' claims 17,592,186,044,416 elements, and 0 bytes are left (byte 43 of 51)"),
        ("cut.gguf", 5, "the file is cut short"),
    ],
)
def test_what_is_no_gguf_is_one_line(described_gguf: Path, name: str, exit_code: int, message: str) -> None:
    folder = described_gguf.parent
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "empty.gguf").touch()
    (folder / "random.gguf").write_bytes(random.Random(1).randbytes(5000))
    (folder / "hangs.gguf").write_bytes(HANGS_OTHERS)
    (folder / "cut.gguf").write_bytes(described_gguf.read_bytes()[:-40])
    plain = inspect(folder / name)
    assert (plain.exit_code, plain.stdout) == (exit_code, "")
    assert plain.stderr.startswith("error: ")
    assert plain.stderr.count("\n") == 1
    assert message in plain.stderr
    as_json = inspect(folder / name, "--json")
    assert (as_json.exit_code, as_json.stderr) == (exit_code, "")
    assert message in json.loads(as_json.stdout)["error"]["message"]


PEAK = """
def peak_kib():  # of this program alone: ru_maxrss would count the parent that started it
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
ONE = """
from genrec_edge import cli
cli.app(["inspect", "--json", sys.argv[1]], standalone_mode=False)
print(peak_kib())
"""
MUTANTS = """
import contextlib, io, random, signal, struct, sys, typer
from pathlib import Path
from genrec_edge import cli
from genrec_edge.gguf.header import read_header

def mutant(whole, end):
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(end)
        kind = rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            length = rng.choice([0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 40, 1 << 63, (1 << 64) - 1])
            data[at : at + 8] = struct.pack("<Q", length)
        elif kind == 3:
            data[at : at + 4] = struct.pack("<I", rng.choice([0, 5, 9, 13, 1 << 31, (1 << 32) - 1]))
        elif rng.random() < 0.2:
            del data[at + 1 :]
            break
    return bytes(data)

def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command(["inspect", *arguments])
        except SystemExit as e:
            return e.code, out.getvalue(), err.getvalue()

command = typer.main.get_command(cli.app)  # once: Typer takes longer to build it than it takes to run
rng, folder = random.Random(20261122), Path(sys.argv[1])
originals = [(path.read_bytes(), read_header(path).data_offset) for path in sorted(folder.glob("*.gguf"))]
path, codes = folder / "mutant", []
run(str(next(folder.glob("*.gguf"))), "--metadata", "--tensors")  # imports
before = peak_kib()
for i in range(int(sys.argv[2])):
    path.write_bytes(mutant(*originals[i % len(originals)]))
    signal.alarm(60)  # ends this process
    code, out, err = run(str(path), *[[], ["--metadata", "--tensors"], ["--json"]][i % 3])
    if code and i % 3 < 2:
        assert (code, out, err.count("\\n"), err[:7]) == (5, "", 1, "error: "), (out, err)
    else:
        assert code in (0, 5) and out and err == "", (code, err)
    codes.append(code)
print(codes.count(0), codes.count(5), peak_kib() - before)
"""


@pytest.mark.slow
def test_2000_mutants_are_described_or_refused(tmp_path: Path, described_gguf: Path) -> None:
    """Each ends with 0 or 5 and at most one line of error; all of them together stay within 256 MB."""
    write_small_adapter(tmp_path / "adapter.gguf")
    done = subprocess.run(
        [sys.executable, "-c", PEAK + MUTANTS, str(tmp_path), "2000"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    n_described, n_refused, grown_kib = (int(word) for word in done.stdout.split())
    assert n_described + n_refused == 2000
    assert min(n_described, n_refused) > 200
    assert grown_kib * 1024 < 256e6


@pytest.mark.slow
def test_the_installed_command_says_the_same(tmp_path: Path, described_gguf: Path) -> None:
    (tmp_path / "hangs.gguf").write_bytes(HANGS_OTHERS)
    for path, exit_code in ((described_gguf, 0), (tmp_path / "hangs.gguf", 5), (tmp_path, 5), (Path("/dev/zero"), 5)):
        done = subprocess.run(
            [installed_command(), "inspect", str(path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (exit_code, inspect(path).stderr)


def big_vocabulary(path: Path, n_tokens: int) -> Path:
    """Write a GGUF whose pieces are as many different ones as possible in as few bytes as possible."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    pieces = np.zeros((n_tokens, 11), np.uint8)
    pieces[:, 0] = 3
    pieces[:, 8:] = np.arange(1, n_tokens + 1, dtype="<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    keys = (
        text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"),
        text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + text(b"llama"),
        text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, n_tokens) + pieces.tobytes(),
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys)) + b"".join(keys)
    head += text(b"token_embd.weight") + struct.pack("<IQIQ", 1, 32, 0, 0)
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(128))
    return path


@pytest.mark.slow
def test_the_largest_vocabulary_a_header_holds_costs_little_memory(tmp_path: Path) -> None:
    for n_tokens, said in ((2_900_000, "its vocabulary has 2,900,000 pieces, more than 1,048,576"), (1 << 20, "")):
        path = big_vocabulary(tmp_path / "a.gguf", n_tokens)
        vocabulary = read_header(path).metadata["tokenizer.ggml.tokens"]
        assert isinstance(vocabulary, ArrayInfo)
        assert vocabulary.count == n_tokens
        script = f"import sys{PEAK}{ONE}"
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, timeout=60
        )
        document, peak_kib = done.stdout.splitlines()
        assert said in json.loads(document)["why_not"]
        assert int(peak_kib) * 1024 < 256e6
