"""The memory that is planned from a header is what llama.cpp takes, or a little more; too much is refused at once."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.engine import memory_plan
from genrec_edge.engine.memory_plan import plan_memory, require_memory
from genrec_edge.errors import OutOfMemoryError
from genrec_edge.gguf.header import read_header
from genrec_edge.storage.process_memory import Kind, MemoryRoom
from tests.support.hostile_ggufs import Sizes, sound

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
SHAPES: dict[str, tuple[Sizes, int, str]] = {
    "small": (Sizes(), 512, "F16"),
    "many cells": (Sizes(n_ctx=8192), 8192, "F16"),
    "many heads": (Sizes(n_heads=64, n_heads_kv=64, head=8, n_embd=512, n_ctx=4096), 4096, "F16"),
    "wide between": (Sizes(n_ff=32768, n_embd=256, n_heads=4, head=64), 512, "F16"),
    "wide heads": (Sizes(head=4096, n_embd=8, n_heads=1, n_heads_kv=1, n_ctx=8192), 8192, "F16"),
    "many layers": (Sizes(n_layers=300, n_embd=8, n_heads=1, n_heads_kv=1, head=8, n_ff=16), 512, "F16"),
    "experts": (Sizes(n_experts=8, n_ff=2048, n_embd=256, n_heads=4, head=64, n_ctx=2048), 2048, "F16"),
    "in another order": (Sizes(n_ff=2048, n_embd=1024, n_heads=16, head=64, n_ctx=1024), 1024, "Q4_0"),
}
USE = """
import json, sys
from pathlib import Path
from genrec_edge.engine.bindings import Model, library
from genrec_edge.engine.llama_engine import LlamaEngine

def held():
    lines = open("/proc/self/status").read().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "VmData"))}

library()
before, n_ctx = held(), int(sys.argv[2])
model = Model(Path(sys.argv[1]))
engine = LlamaEngine(model, n_ctx=n_ctx, n_threads=1)
engine.prompt((model.tokenize("Alien, the 3rd") * n_ctx)[: n_ctx - 2])
print(json.dumps({name: value - before[name] for name, value in held().items()}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells private memory")
@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_is_what_llama_cpp_takes(name: str, tmp_path: Path) -> None:
    sizes, n_ctx, kind = SHAPES[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(sound(sizes, random.Random(1), kind).written())
    done = subprocess.run([sys.executable, "-c", USE, path, str(n_ctx)], capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout)
    plan = plan_memory(read_header(path), n_ctx)
    assert taken["RssAnon"] <= plan.private <= 1.3 * taken["RssAnon"] + 64 * MIB
    reserved = plan.private + memory_plan._NODE_RESERVED_BYTES * len(read_header(path).tensors)
    assert taken["VmData"] <= reserved + memory_plan._SERVING_BYTES


def test_what_does_not_fit_is_refused_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(sound(SHAPES["wide heads"][0], random.Random(1)).written())
    header = read_header(path)
    kinds: tuple[Kind, ...] = ("resident", "data", "address space")
    for kind in kinds:
        room = MemoryRoom("the limit of the test", 400 * MIB, kind)
        monkeypatch.setattr(memory_plan, "memory_rooms", partial(list, [room]))
        require_memory(header, 256)
        with pytest.raises(OutOfMemoryError, match="the limit of the test leaves 400 MiB") as error:
            require_memory(header, 8192)
        assert "with a context of 8,192 tokens" in error.value.message
        assert "256 MiB of cache" in error.value.message
        assert "`n_ctx`" in error.value.hint


def test_a_clone_needs_its_context_alone_and_an_adapter_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(sound(Sizes(), random.Random(1)).written())
    header = read_header(path)
    monkeypatch.setattr(memory_plan, "memory_rooms", partial(list, [MemoryRoom("the test", 32 * MIB)]))
    require_memory(header, 256, is_clone=True)
    with pytest.raises(OutOfMemoryError):
        require_memory(header, 256)
    with pytest.raises(OutOfMemoryError):
        require_memory(header, 256, is_clone=True, adapter_bytes=32 * MIB)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of Linux")
def test_under_a_limit_the_answer_is_right_or_there_is_too_little_memory(
    recommend_command: list[str], offline_home: Path, trials: Callable[[int, int], int]
) -> None:
    limits = [(flag, mib) for flag in ("AS", "DATA") for mib in range(60, 460, 20)]
    limits = limits[:: len(limits) // trials(6, len(limits))]
    words = [*recommend_command, "-H", "Toy Story", "-H", "Aladdin", "-k", "3", "--json"]
    command = [sys.executable, "-c", "from genrec_edge.cli import main; main()", *words]
    unlimited = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    expected = [item["id"] for item in json.loads(unlimited.stdout)["items"]]
    codes = []
    for flag, mib in limits:
        limit = partial(resource.setrlimit, getattr(resource, f"RLIMIT_{flag}"), (mib * MIB, mib * MIB))
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            preexec_fn=limit,
        )
        codes.append(done.returncode)
        assert done.returncode in {0, 7}, (flag, mib, done.stdout[-500:], done.stderr[-2000:])
        answer = json.loads(done.stdout)
        if done.returncode == 0:
            assert [item["id"] for item in answer["items"]] == expected
        else:
            assert answer["error"]["code"] == "out-of-memory"
    assert set(codes) == {0, 7}
