"""The comparison with transformers: when it is skipped, and why."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.verification import reference as reference_module
from genrec_edge.engine.bindings import Model
from tests.support.converted_models import small_verify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.converted_models import ConvertedModels

pytestmark = pytest.mark.slow


def make_root(tmp_path: Path) -> Path:
    """Make a file system in which this process is in a control group that uses nothing, and return its root."""
    root = tmp_path / "root"
    for name, content in {
        "proc/self/cgroup": "0::/\n",
        "proc/self/status": "",
        "sys/fs/cgroup/memory.current": "0\n",
        "sys/fs/cgroup/memory.stat": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_a_special_token_in_a_title_is_plain_text_on_both_sides(converted_models: ConvertedModels) -> None:
    with closing(Model(converted_models.f16, vocab_only=True)) as model:
        found = reference_module.check_tokenizer(
            model, converted_models.checkpoint, ["Before <|end|> after", "東京物語", "a\tb  c 1984"]
        )
    assert (found.status, found.mismatches) == ("passed", ())


def test_without_a_checkpoint_it_says_so(converted_models: ConvertedModels, own_home: Path) -> None:
    found = small_verify(converted_models, [], None)
    assert found.tokenizer.status == found.checkpoint.status == "skipped"
    assert found.tokenizer.reason == "there is no Hugging Face folder with the tokenizer"
    assert found.checkpoint.reason == "there is no merged Hugging Face checkpoint"
    assert found.problems == ()


def test_a_folder_transformers_cannot_load_says_so(
    converted_models: ConvertedModels, tmp_path: Path, own_home: Path
) -> None:
    found = small_verify(converted_models, [], tmp_path)
    assert found.tokenizer.status == found.checkpoint.status == "skipped"
    for reason in (found.tokenizer.reason, found.checkpoint.reason):
        assert reason.startswith(f"transformers cannot load {tmp_path}: ")
        assert "\n" not in reason


def test_a_checkpoint_larger_than_memory_is_not_loaded(
    converted_models: ConvertedModels, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path)
    (root / "proc/meminfo").write_text("MemTotal:       8000000 kB\nMemAvailable:         100 kB\n")
    monkeypatch.setattr(reference_module, "_ROOT", root)
    found = small_verify(converted_models, [], converted_models.checkpoint)
    assert found.checkpoint.status == "skipped"
    assert found.checkpoint.reason == "transformers needs 0.0 GB of memory for it, and 0.0 GB are available"
    assert found.tokenizer.status == "passed"


def test_memory_is_what_the_kernel_and_the_container_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path)
    meminfo, limit = root / "proc/meminfo", root / "sys/fs/cgroup/memory.max"
    monkeypatch.setattr(reference_module, "_ROOT", root)
    assert (reference_module.available_memory() or 0) > 1 << 20  # all the machine has
    meminfo.write_text("MemTotal: 8000 kB\nMemAvailable: 3000 kB\nHugePages_Total: 0\n")
    assert reference_module.available_memory() == 3000 * 1024
    limit.write_text("max\n")
    assert reference_module.available_memory() == 3000 * 1024
    limit.write_text("1048576\n")
    assert reference_module.available_memory() == 1 << 20


def test_without_the_extra_it_says_so_and_nothing_heavy_is_loaded(
    converted_models: ConvertedModels, own_home: Path
) -> None:
    script = f"""
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["transformers"] = None
from genrec_edge.convert.verification.results import agrees
from genrec_edge.convert.verification.run import verify
found = verify(Path({str(converted_models.f16)!r}), [], checkpoint=Path({str(converted_models.checkpoint)!r}),
    catalog=Path({str(converted_models.catalog)!r}), test=None, n_threads=1, seed=0, n_positions=5, n_histories=1)
assert found.problems == (), found
assert "matplotlib" not in sys.modules
print(found.tokenizer.status, found.tokenizer.reason)
print(found.checkpoint.status, found.checkpoint.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "skipped transformers is not installed; pip install 'genrec-edge[train]'",
        "skipped torch is not installed; pip install 'genrec-edge[train]'",
    ]
