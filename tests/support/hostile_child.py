"""Feeds `genrec-edge convert` with mutated files, one after the other, in a process that may die of it.

A program, not a test: `test_hostile.py` starts it and reads one line of JSON. Anything but a success or a `GenRecError`
of one line ends it with a traceback, a case that takes too long with a signal.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from genrec_edge import cli
from genrec_edge.catalog.titles import printable
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.pipeline.metadata import model_metadata
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.pipeline.run import prepare
from genrec_edge.errors import GenRecError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.types import GGML_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

HANG_S = 30
MOST_BYTES = 8 << 30  # of address space: a runaway ends here and not in swap
MOST_CHARACTERS = 30_000  # of a message
COUNTS = (0, 1, 2, 3, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1)
TEXTS = (b"", b"\0", b"\xff\xfe", b"a\nb\x1b[2J", b"\xed\xa0\x80", b"x" * 300_000, b"linear", b"llama", b"../../x")
REALS = (0.0, -1.0, 1e-45, 1e-38, 3e38, float("nan"), float("inf"), float("-inf"))
# Spellings no writer of JSON would give; `JSON_VALUES` names them.
RAW = {
    "@deep@": "[" * 100_000,
    "@huge@": "9" * 4000,
    "@huger@": "9" * 5000,
    "@real@": "1e999",
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@surrogate@": '"\\ud800"',
}
JSON_VALUES: tuple[Any, ...] = (
    *RAW, None, True, False, 0, 1, -1, 2, 3, 7, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 10**30, 0.0, 0.5, -0.5, 1e-45,
    1e-300, 1e300, 1e308, "", "x", "\0", "\u2028\n", "x" * 300_000, "default", "llama3", "LORA", [], [[]], [1], ["x"],
    [None], {}, {"": {}}, {"x": 1}, [{"id": 1, "content": "x"}], list(range(100_000)),
)  # fmt: skip


class Gguf:
    """A GGUF taken to pieces that can be changed and put together again."""

    def __init__(self, path: Path) -> None:
        header, data = read_header(path), path.read_bytes()
        numbers = {kind.name: number for number, kind in GGML_TYPES.items()}
        self.head_bytes = header.data_offset
        self.whole = data
        self.fields = [(key.encode(), data[start:end]) for key, (start, end) in header.spans.items()]
        self.tensors = [
            (t.name.encode(), list(t.shape), numbers[t.type], t.offset - header.data_offset) for t in header.tensors
        ]
        self.data = data[header.data_offset :]

    def changed(self, rng: random.Random) -> bytes:
        """Return the file with one to three changes, to its bytes or to its pieces."""
        if rng.random() < 0.3:
            return bytes_changed(self.whole, self.head_bytes, rng)
        fields, tensors, data = list(self.fields), list(self.tensors), self.data
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            kind = rng.choice(["value", "value", "value", "key", "tensor", "tensor", "array", "data"])
            at = rng.randrange(len(fields))
            if kind == "value":
                fields[at] = (fields[at][0], gguf_value(rng))
            elif kind == "key":
                change_keys(fields, rng)
            elif kind == "tensor":
                change_tensors(tensors, rng)
            elif kind == "array":
                change_array(fields, self.fields, rng)
            else:
                data = data_changed(data, rng)
        n_tensors = rng.choice(COUNTS) if rng.random() < 0.03 else len(tensors)
        return assembled(fields, tensors, data, n_tensors)


def assembled(fields: list[tuple[bytes, bytes]], tensors: list[Any], data: bytes, n_tensors: int) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, n_tensors, len(fields))
    head += b"".join(text(key) + value for key, value in fields)
    for name, shape, kind, offset in tensors:
        sides = b"".join(map(u64, shape))
        head += text(name) + struct.pack("<I", len(shape)) + sides + struct.pack("<I", kind) + u64(offset)
    return head + bytes(-len(head) % 32) + data


def u64(n: int) -> bytes:
    return (n % (1 << 64)).to_bytes(8, "little")


def text(value: bytes) -> bytes:
    return u64(len(value)) + value


def gguf_value(rng: random.Random) -> bytes:
    """Return a value of any type, its type first."""
    element, size = rng.choice([(4, 4), (5, 4), (6, 4), (0, 1), (7, 1), (8, 8), (9, 12), (13, 1)])
    claimed = rng.choice([0, 1, 4, *COUNTS])
    values = (
        struct.pack("<II", 4, rng.choice(COUNTS) % (1 << 32)),
        struct.pack("<I", rng.choice([10, 11])) + u64(rng.choice([*COUNTS, -1, -5, 7])),
        struct.pack("<If", 6, rng.choice(REALS)),
        struct.pack("<Id", 12, rng.choice([*REALS, 1e300, 1e-300])),
        struct.pack("<I", 8) + text(rng.choice(TEXTS)),
        struct.pack("<IB", 7, rng.choice([0, 1, 2])),
        struct.pack("<IIQ", 9, element, claimed) + bytes(size * min(claimed, 1000)),
    )
    return rng.choice(values)


def change_keys(fields: list[tuple[bytes, bytes]], rng: random.Random) -> None:
    at = rng.randrange(len(fields))
    key, value = fields[at]
    kind = rng.randrange(5)
    if kind == 0:
        del fields[at]
    elif kind == 1:
        fields.insert(rng.randrange(len(fields)), (key, value))
    elif kind == 2:
        fields[at] = (rng.choice(TEXTS)[:70_000], value)
    elif kind == 3:
        fields[at] = (key, fields[rng.randrange(len(fields))][1])
    else:
        name = rng.choice([b"genrec_edge.train.x", b"general.name", b"tokenizer.ggml.x", b"llama.rope.scaling.factor"])
        fields.append((rng.choice([name, name + b"\xff", name.upper()]), gguf_value(rng)))


def change_tensors(tensors: list[Any], rng: random.Random) -> None:
    at, other = rng.randrange(len(tensors)), rng.randrange(len(tensors))
    name, shape, kind, offset = tensors[at]
    match rng.randrange(7):
        case 0:
            del tensors[at]
        case 1:
            tensors.append((name, shape, kind, offset))
        case 2:
            tensors[at] = (
                name,
                [rng.choice([*COUNTS, *shape]) for _ in range(rng.choice([0, 1, 2, 2, 3, 4, 9]))],
                kind,
                offset,
            )
        case 3:
            tensors[at] = (name, shape, rng.choice([*GGML_TYPES, 99]), offset)
        case 4:
            tensors[at] = (name, shape, kind, rng.choice([*COUNTS, offset + 32, offset - 32]))
        case 5:
            tensors[at] = (rng.choice([*TEXTS, b"blk.1.attn_q.bias", b"rope_freqs.weight"])[:200], shape, kind, offset)
        case 6:
            tensors[at], tensors[other] = (*tensors[other][:3], offset), (*tensors[at][:3], tensors[other][3])


def change_array(fields: list[tuple[bytes, bytes]], sound: list[tuple[bytes, bytes]], rng: random.Random) -> None:
    """Change elements of a list that is `sound` yet: of strings one for another, of numbers one for any."""
    lists = [at for at, field in enumerate(fields) if field[1][:4] == struct.pack("<I", 9) and field in sound]
    if not lists:
        return
    at = rng.choice(lists)
    key, value = fields[at]
    kind, count = struct.unpack_from("<IQ", value, 4)
    if kind != 8:
        content = bytearray(value)
        for _ in range(rng.choice([1, 1, 5])):
            where = 16 + 4 * rng.randrange(count)
            content[where : where + 4] = rng.choice(
                [struct.pack("<f", rng.choice(REALS)), struct.pack("<I", rng.randrange(9))]
            )
        fields[at] = (key, bytes(content))
        return
    strings, position = [], 16
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", value, position)
        strings.append(value[position + 8 : position + 8 + length])
        position += 8 + length
    for _ in range(rng.choice([1, 1, 5])):
        strings[rng.randrange(count)] = rng.choice([*TEXTS, *strings[:20], b" ", b"a b c"])
    if rng.random() < 0.3:
        strings.pop()
    fields[at] = (key, struct.pack("<IIQ", 9, 8, len(strings)) + b"".join(map(text, strings)))


def data_changed(data: bytes, rng: random.Random) -> bytes:
    content, at = bytearray(data), rng.randrange(len(data))
    content[at : at + 64] = rng.choice([b"\xff" * 64, b"\0" * 64, b"\x7c" * 64, rng.randbytes(64)])
    return bytes(content[: len(data) - (at if rng.random() < 0.1 else 0)])


def bytes_changed(whole: bytes, end: int, rng: random.Random) -> bytes:
    """Return a file with bytes of its first `end` flipped, overwritten by a length or left out, or with its end cut."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(max(1, min(end, len(data))))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([data[at] ^ (1 << rng.randrange(8))]) if data else b"x"
            case 1:
                data[at : at + 1] = rng.randbytes(1)
            case 2:
                data[at : at + 8] = u64(rng.choice(COUNTS))
            case 3:
                data[at : at + 4] = struct.pack("<I", rng.choice(COUNTS) % (1 << 32))
            case 4:
                del data[at : at + rng.choice([1, 8, 100])]
            case _:
                if rng.random() < 0.3:
                    del data[at:]
    return bytes(data)


def json_changed(content: bytes, rng: random.Random) -> bytes:
    """Return a JSON document with some of its values and keys replaced, or its bytes changed."""
    if rng.random() < 0.2 or not content:
        return bytes_changed(content, len(content), rng)
    document = json.loads(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change_json(document, rng)
    written = json.dumps(document)
    for name, spelling in RAW.items():
        written = written.replace(f'"{name}"', spelling)
    if rng.random() < 0.05 and isinstance(document, dict) and document:
        key = rng.choice(list(document))
        written = f"{written[:-1]}, {json.dumps(key)}: {json.dumps(document[key])}}}"
    return written.encode()


def change_json(document: Any, rng: random.Random) -> None:
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.4:
            break
        place = place[key]
    match rng.randrange(8):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[rng.choice(["", "\n", "x" * 70_000, *keys])] = place.pop(key)
        case 2 if not isinstance(other := place[rng.choice(keys)], dict | list):
            place[key] = other
        case 3:
            place[key] = nested(rng.randrange(700, 980), rng)
        case _:
            place[key] = copy.deepcopy(rng.choice(JSON_VALUES))


def nested(depth: int, rng: random.Random) -> Any:
    value: Any = rng.choice([[], {}, 1])
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"x": value}
    return value


def safetensors_changed(content: bytes, rng: random.Random) -> bytes:
    n = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + n], content[8 + n :]
    kind = rng.random()
    if kind < 0.3:
        return bytes_changed(content, 8 + n, rng)
    if kind < 0.5:
        return content[: 8 + n] + data_changed(data, rng)
    if kind < 0.6:
        return u64(rng.choice(COUNTS)) + header + data
    changed = json_changed(header, rng)
    return u64(len(changed)) + changed + data


def protobuf_changed(content: bytes, rng: random.Random) -> bytes:
    return bytes_changed(content, rng.choice([200, len(content)]), rng)


class Folder:
    """A folder whose files are changed, one or two at a time, and put back."""

    def __init__(self, path: Path, source: Path) -> None:
        shutil.copytree(source, path)
        self.path = path
        self.contents = {file.name: file.read_bytes() for file in sorted(path.iterdir())}

    def change(self, rng: random.Random) -> None:
        for name in rng.sample(list(self.contents), k=rng.choice([1, 1, 2])):
            path, content = self.path / name, self.contents[name]
            path.unlink(missing_ok=True)
            if rng.random() < 0.06:
                put_something_else(path, rng)
                continue
            by_ending = {".json": json_changed, ".safetensors": safetensors_changed, ".model": protobuf_changed}
            path.write_bytes(by_ending[path.suffix](content, rng))

    def restore(self) -> None:
        for name, content in self.contents.items():
            path = self.path / name
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def put_something_else(path: Path, rng: random.Random) -> None:
    """Put what is no file, or an empty one, or nothing at all in the place of a file."""
    match rng.randrange(6):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(path.name)
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.mkdir()
        case 4:
            path.touch()


def job(base: Path, adapters: tuple[tuple[Path, float], ...] = ()) -> ConversionJob:
    out = base.with_name("never-made")
    return ConversionJob(base, out, "Tiny", "MIT", ("Q8_0",), catalog=None, adapters=adapters, verify="none")


def prepared_and_written(wanted: ConversionJob) -> str:
    """Open the inputs of a job and write its F16 file to nowhere; return what came of it."""
    try:
        prepared = prepare(wanted)
    except GenRecError as e:
        return checked_line(e)
    try:
        metadata = model_metadata(prepared.checkpoint, prepared.adapters, wanted.name, wanted.licence)
        write_gguf(prepared.checkpoint, io.BytesIO(), metadata)
    except GenRecError as e:
        return checked_line(e)
    return "accepted"


def checked_line(error: GenRecError) -> str:
    line = printable(f"{error.message}; {error.hint}")
    assert error.hint, line
    assert line.isprintable(), line
    assert len(line) < MOST_CHARACTERS, line[:300]
    return "refused"


def command_run(command: Any, base: Path, adapter: Path | None, number: int) -> str:
    """Run the whole command, and return what came of it."""
    out = base.with_name(f"out-{number}")
    words = ["convert", "--base", base, "--out", out, "--name", f"M{number}", "--license", "MIT", "--verify", "none"]
    words += ["--quant", "Q8_0", "--threads", "1", *(["--adapter", adapter] if adapter else [])]
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            command([str(word) for word in words])
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0
    if code == 0:
        assert out.is_dir()
        shutil.rmtree(out)
        return "accepted"
    lines = stderr.getvalue().splitlines()
    assert (stdout.getvalue(), len(lines)) == ("", 1), (stdout.getvalue(), lines)
    assert lines[0].startswith("error: "), lines
    assert code in {2, 5}, (code, lines)
    assert not out.exists()
    return "refused"


def cases(kind: str, inputs: Path, scratch: Path, rng: random.Random) -> Callable[[int], str]:
    """Return a function that makes and tries one case."""
    ggufs = [Gguf(path) for path in sorted(inputs.glob("*.gguf"))]
    folders = [Folder(scratch / path.name, path) for path in sorted(inputs.glob("hf-*"))]
    adapters = [Folder(scratch / path.name, path) for path in sorted(inputs.glob("lora-*"))]
    command = typer.main.get_command(cli.app)
    path = scratch / "mutant.gguf"

    def try_gguf(number: int) -> str:
        path.write_bytes(ggufs[number % len(ggufs)].changed(rng))
        return prepared_and_written(job(path)) if kind == "gguf" else command_run(command, path, None, number)

    def try_folder(number: int) -> str:
        base, adapter = folders[number % len(folders)], rng.choice(adapters)
        rng.choice([base, base, adapter]).change(rng)
        try:
            if kind == "folder":
                return prepared_and_written(job(base.path, ((adapter.path, 1.0),)))
            return command_run(command, base.path, adapter.path, number)
        finally:
            base.restore()
            adapter.restore()

    packed = Folder(scratch / "packed", inputs / "packed")

    def try_packed(_number: int) -> str:
        packed.change(rng)
        try:
            return prepared_and_written(job(inputs / "hf-bpe", ((packed.path, 1.0),)))
        finally:
            packed.restore()

    if kind == "packed":
        return try_packed
    if kind == "command":
        return lambda number: (try_gguf if number % 2 else try_folder)(number)
    return try_gguf if kind == "gguf" else try_folder


def peak_kib() -> int:
    """Return the most memory this program has held; ru_maxrss would count the parent that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def main(kind: str, inputs: Path, scratch: Path, n_cases: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    rng = random.Random(seed)
    try_one = cases(kind, inputs, scratch, rng)
    outcomes: Counter[str] = Counter()
    before = 0
    for number in range(n_cases):
        signal.alarm(HANG_S)  # ends this process
        outcomes[try_one(number)] += 1
        before = before or peak_kib()  # everything is imported
    sys.stdout.write(json.dumps({**outcomes, "grown_bytes": 1024 * (peak_kib() - before)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
