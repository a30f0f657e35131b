"""`genrec-edge convert` killed, and with failing disks, anywhere: results are whole or absent, and can be resumed.

The faults are injected between the process and libc (`faults.c`), below Python and llama.cpp alike.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.gguf.header import read_header
from tests.support.faulty_commands import ForkServer, Ran, fork_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow

N_KILLS = 100
QUANTS = "Q4_0,Q8_0"
SIGKILL = -9
FOLDER = "folder"
Tree = dict[str, str]


class Converter:
    """Runs the same conversion into different folders, in forks of a process that has imported everything."""

    def __init__(self, server: ForkServer, inputs: list[str]) -> None:
        self._server = server
        self._inputs = inputs

    def run(self, root: Path, *more: str, kill_after_s: float | None = None, **fault: Any) -> Ran:
        """Convert to `root/out`, with the store and the caches in `root/home`; `fault` as for `ForkServer.run`."""
        arguments = ["convert", *self._inputs, "--out", str(root / "out"), *more]
        env = {"GENREC_EDGE_HOME": str(root / "home")}
        return self._server.run(arguments, root, env, kill_after_s=kill_after_s, **fault)

    def run_to_the_end(self, root: Path, *more: str) -> Ran:
        """Convert undisturbed."""
        run = self.run(root, *more)
        assert run.status == 0, run.output
        return run


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, tricky_path: Path) -> Iterator[Converter]:
    """Returns what converts `tiny_llama` with an adapter to two types, keeping everything that can be kept."""
    scratch = tmp_path_factory.mktemp("atomic")
    adapter_path = write_adapter(scratch / "lora", tiny_llama)
    inputs = ["--base", str(tiny_llama), "--adapter", str(adapter_path), "--quant", QUANTS, "--name", "Tiny"]
    inputs += ["--license", "CC0-1.0", "--catalog", str(tricky_path), "--verify", "none", "--keep-f16"]
    with fork_server(scratch) as server:
        yield Converter(server, [*inputs, "--keep-checkpoint", "--threads", "2"])


def write_adapter(folder: Path, base: Path) -> Path:
    """Write a LoRA for the queries of every layer, as PEFT would."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    width, rank = 32, 4
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = rng.normal(size=(rank, width)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.normal(size=(width, rank)).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(base)}))
    return folder


@pytest.fixture(scope="module")
def undisturbed(converter: Converter, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Ran]:
    """Returns all files that an undisturbed run leaves, and the run."""
    root = tmp_path_factory.mktemp("undisturbed")
    run = converter.run_to_the_end(root)
    return tree(root), run


def tree(root: Path) -> Tree:
    """Return every file and folder below `root` with the digest of its contents, locks in the cache left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not name.startswith("home/cache"):
            found[name] = FOLDER if path.is_dir() else digest(path)
    return found


def digest(path: Path) -> str:
    """Return what a file holds, whenever it was made."""
    data = path.read_bytes()
    if path.match("models/*/manifest.json"):
        data = json.dumps({**json.loads(data), "created": ""}).encode()
    return hashlib.sha256(data).hexdigest()


def assert_whole_or_absent(root: Path, expected: Tree) -> None:
    """Check the names that others look for: the result, and each model of the store."""
    found = tree(root)
    models = [name for name in expected if name.startswith("home/models/Tiny") and expected[name] == FOLDER]
    for final in ("out", *models):
        if final in found:
            assert below(found, final) == below(expected, final), final


def below(files: Mapping[str, str], folder: str) -> Tree:
    """Return what a folder holds."""
    return {name: content for name, content in files.items() if name.startswith(f"{folder}/")}


def start_again(converter: Converter, root: Path, *, resume: bool) -> None:
    """Start the conversion as a user would after a failure; a result that is there can only be resumed."""
    fresh = not (root / "out").exists() and not list((root / "home" / "models").glob("Tiny*"))
    converter.run_to_the_end(root, *(() if fresh and not resume else ("--resume",)))


def test_undisturbed_run_repeats_itself(undisturbed: tuple[Tree, Ran], converter: Converter, tmp_path: Path) -> None:
    converter.run_to_the_end(tmp_path)

    assert tree(tmp_path) == undisturbed[0]
    assert read_header(next((tmp_path / "out").glob("*Q4_0.gguf"))).n_params > 0
    assert {path.name for path in (tmp_path / "home" / "models").glob("Tiny*")} == {"Tiny", "Tiny-q8_0"}
    assert undisturbed[1].n_calls > 20


@pytest.mark.parametrize("seed", range(N_KILLS))
def test_kill_leaves_results_whole_or_absent(
    seed: int, converter: Converter, undisturbed: tuple[Tree, Ran], tmp_path: Path
) -> None:
    expected, run = undisturbed
    killed = converter.run(tmp_path, kill_after_s=random.Random(seed).uniform(0, run.seconds))

    assert killed.status in {SIGKILL, 0}
    assert_whole_or_absent(tmp_path, expected)
    start_again(converter, tmp_path, resume=seed % 2 == 0)
    assert tree(tmp_path) == expected


@pytest.mark.parametrize(("error", "exit_codes"), [(errno.ENOSPC, {8}), (errno.EIO, {5, 9, 15})])
def test_failing_disk_leaves_results_whole_or_absent(
    error: int, exit_codes: set[int], converter: Converter, undisturbed: tuple[Tree, Ran], tmp_path: Path
) -> None:
    expected, run = undisturbed
    fatal = 0
    # Each file is six calls: a step of five meets all of them.
    for fail_at in range(1, run.n_calls + 1, 5):
        root = tmp_path / str(fail_at)
        root.mkdir()
        failed = converter.run(root, fail_at=fail_at, error=error, stays=error == errno.ENOSPC)

        assert_whole_or_absent(root, expected)
        if failed.status == 0:  # a folder could not be made, and was there already; or a record in a cache
            assert tree(root) == expected
            continue
        fatal += 1
        assert failed.status in exit_codes, failed.output
        assert len(failed.output.splitlines()) == 1, failed.output
        assert failed.output.startswith("error: ")
        start_again(converter, root, resume=fail_at % 2 == 0)
        assert tree(root) == expected
    assert fatal > run.n_calls // 5 * 0.7


def test_counting_ends_where_the_run_does(converter: Converter, undisturbed: tuple[Tree, Ran], tmp_path: Path) -> None:
    run = converter.run(tmp_path, fail_at=undisturbed[1].n_calls + 1, error=errno.ENOSPC, stays=True)

    assert run.status == 0
    assert tree(tmp_path) == undisturbed[0]
