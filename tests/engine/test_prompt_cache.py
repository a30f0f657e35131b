"""Prompts kept on disk: the same answers at the cost of what is new, and never the cells of anything else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.engine import prompt_cache
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.llama_engine import LlamaEngine
from genrec_edge.engine.prompt_cache import MIN_SAVED_TOKENS, PromptCache
from genrec_edge.errors import UsageError
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.hub.manifest import Manifest
from genrec_edge.hub.store import ModelFile, ModelStore, resolve_model
from genrec_edge.recommender import Recommender
from genrec_edge.storage import paths
from genrec_edge.storage.files import sha256_file
from genrec_edge.storage.partial_files import partial_file
from tests.support.coordinates import tokens
from tests.support.faults import flipped_bit, largest_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.records import Result

pytestmark = pytest.mark.usefixtures("own_home")

HISTORY = ["Vertigo", "Alien", "Casablanca", "Psycho"]
LONGER = [*HISTORY, "Fargo"]
KEY = {"model": "m"}


@pytest.fixture
def stored(tiny_llama: Path) -> ModelFile:
    """Returns a model as the store has it: with a manifest."""
    return stored_as(tiny_llama)


def stored_as(path: Path) -> ModelFile:
    header = read_header(path)
    manifest = Manifest(
        "tiny", path.name, path.stat().st_size, sha256_file(path), "llama", "F32", header.n_params, "CC0-1.0", "none",
        None, tokenizer_fingerprint(header, path), "2026-01-01T00:00:00+00:00", "0",
    )  # fmt: skip
    return ModelFile(path, manifest, header)


def ask(
    model: ModelFile, catalog: Path, history: list[str], folder: Path | None, adapter: Path | None = None
) -> Result:
    """Ask a recommender that was opened for this one question."""
    with Recommender.open(model, catalog, adapter=adapter, n_threads=1, prompts_path=folder) as r:
        return r.recommend(history, k=5)


def assert_same(found: Result, expected: Result) -> None:
    assert [i.item.id for i in found.items] == [i.item.id for i in expected.items]
    assert [i.score for i in found.items] == pytest.approx([i.score for i in expected.items], abs=1e-3)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.kv"))


def test_a_repeated_and_an_extended_history_cost_what_is_new(
    stored: ModelFile, tricky_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "prompts"
    first = ask(stored, tricky_path, HISTORY, folder)
    assert first.timings.reused_tokens == 0
    again = ask(stored, tricky_path, HISTORY, folder)
    assert again.timings.reused_tokens == again.timings.prompt_tokens - 1  # the last token is evaluated for its logits
    assert_same(again, first)
    longer = ask(stored, tricky_path, LONGER, folder)
    assert longer.timings.reused_tokens == first.timings.prompt_tokens
    assert_same(longer, ask(stored, tricky_path, LONGER, None))


def test_the_logits_are_those_of_a_prompt_that_was_evaluated(tiny_llama: Path) -> None:
    prompt = tokens(*((7 * i) % 250 for i in range(300)))
    first, second = (LlamaEngine(Model(tiny_llama), n_ctx=512, n_threads=1) for _ in range(2))
    expected, _ = first.prompt(prompt)
    assert second.restore(prompt, first.state())
    found, reused = second.prompt(prompt)
    assert reused == len(prompt) - 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    for engine in (first, second):
        engine.close()


def test_cells_that_do_not_fit_empty_the_cache(tiny_llama: Path) -> None:
    prompt = tokens(*((7 * i) % 250 for i in range(300)))
    large, small = (LlamaEngine(Model(tiny_llama), n_ctx=n_ctx, n_threads=1) for n_ctx in (512, 256))
    expected, _ = large.prompt(prompt[:200])
    few = large.state()
    large.prompt(prompt)
    assert not small.restore(prompt, large.state())  # longer than its context
    assert not small.restore(prompt[:100], few)  # cells of another number of tokens
    found, reused = small.prompt(prompt[:200])
    assert reused == 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    for engine in (large, small):
        engine.close()


@pytest.mark.parametrize("at", [0, 20, 60, -40, -1])
def test_a_damaged_file_is_never_used(stored: ModelFile, tricky_path: Path, tmp_path: Path, at: int) -> None:
    expected = ask(stored, tricky_path, HISTORY, tmp_path)
    (path,) = kept(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    found = ask(stored, tricky_path, HISTORY, tmp_path)
    assert found.timings.reused_tokens == 0
    assert_same(found, expected)
    assert ask(stored, tricky_path, HISTORY, tmp_path).timings.reused_tokens > 0  # and was kept anew


@pytest.mark.parametrize("n_bytes", [0, 5, 30, 500])
def test_a_file_that_was_cut_short_is_never_used(
    stored: ModelFile, tricky_path: Path, tmp_path: Path, n_bytes: int
) -> None:
    ask(stored, tricky_path, HISTORY, tmp_path)
    (path,) = kept(tmp_path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert ask(stored, tricky_path, HISTORY, tmp_path).timings.reused_tokens == 0


def test_another_model_gets_nothing(tiny_llama: Path, tricky_path: Path, tmp_path: Path) -> None:
    from tests.support.gguf_files import write_tiny_llama

    other = stored_as(write_tiny_llama(tmp_path / "other.gguf", seed=1))  # the same shape: llama.cpp would take it
    folder = tmp_path / "prompts"
    ask(stored_as(tiny_llama), tricky_path, HISTORY, folder)
    found = ask(other, tricky_path, HISTORY, folder)
    assert found.timings.reused_tokens == 0
    assert_same(found, ask(other, tricky_path, HISTORY, None))


def test_a_file_that_was_changed_in_the_store_gets_nothing(tiny_llama: Path, tricky_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.gguf"
    shutil.copyfile(tiny_llama, path)
    model = stored_as(path)
    ask(model, tricky_path, HISTORY, tmp_path)
    os.utime(path, ns=(1, 1))
    assert ask(model, tricky_path, HISTORY, tmp_path).timings.reused_tokens == 0


@pytest.mark.parametrize("change", [{"adapter": "a"}, {"llama_cpp_python": "0"}, {"model": "other"}])
def test_every_part_of_the_key_counts(tmp_path: Path, change: dict[str, str]) -> None:
    prompt = tokens(*range(50))
    PromptCache(tmp_path, KEY).keep(prompt, b"cells")
    assert PromptCache(tmp_path, KEY).nearest(prompt, 0) is not None
    other = PromptCache(tmp_path, {**KEY, **change})
    assert other.nearest(prompt, 0) is None
    (path,) = kept(tmp_path)
    path.rename(path.with_name(f"{other._prefix}-{path.name.partition('-')[2]}"))  # and its name is not trusted
    assert other.nearest(prompt, 0) is None


def test_a_file_without_a_manifest_keeps_nothing(tiny_llama: Path, tricky_path: Path, tmp_path: Path) -> None:
    ask(resolve_model(tiny_llama, ModelStore()), tricky_path, HISTORY, tmp_path / "prompts")
    assert not (tmp_path / "prompts").exists()


def test_the_prompt_with_most_in_common_is_found(tmp_path: Path) -> None:
    cache = PromptCache(tmp_path, KEY)
    prompts = {name: tokens(*range(n), 7777) for name, n in [("a", 30), ("b", 60), ("c", 45)]}
    for name, prompt in prompts.items():
        cache.keep(prompt, name.encode())
    asked = tokens(*range(50), 8888)
    near = cache.nearest(asked, 0)
    assert near is not None
    assert cache.read(near) == b"b"
    assert near.token_ids == prompts["b"]
    assert cache.nearest(asked, 50 - MIN_SAVED_TOKENS) is not None
    assert cache.nearest(asked, 50 - MIN_SAVED_TOKENS + 1) is None  # what the engine has is as good
    assert cache.nearest(tokens(*range(MIN_SAVED_TOKENS - 1)), 0) is None


def test_the_longest_unused_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_cache, "MAX_FILES", 3)
    cache = PromptCache(tmp_path, KEY)
    prompts = [tokens(i, *range(100, 130)) for i in range(4)]
    for age, prompt in enumerate(prompts[:3]):
        cache.keep(prompt, b"x")
        newest = max(kept(tmp_path), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(10**9 * age, 10**9 * age))
    near = cache.nearest(prompts[0], 0)
    assert near is not None
    cache.read(near)  # now the second one is the longest unused
    cache.keep(prompts[3], b"x")
    assert [cache.nearest(prompt, 0) is not None for prompt in prompts] == [True, False, True, True]


def test_the_folder_has_a_limit_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_cache, "MAX_BYTES", 9_000)
    cache = PromptCache(tmp_path, KEY)
    for i in range(8):
        cache.keep(tokens(i, *range(50)), bytes(3000))
        assert sum(path.stat().st_size for path in kept(tmp_path)) <= 9_000
    assert len(kept(tmp_path)) == 2
    cache.keep(tokens(*range(60)), bytes(9_001))
    assert len(kept(tmp_path)) == 2


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    PromptCache(folder, KEY).keep(tokens(*range(50)), b"x")
    (path,) = kept(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    stored: ModelFile, tricky_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = ask(stored, tricky_path, HISTORY, tmp_path / "file" / "prompts")
    assert_same(found, ask(stored, tricky_path, HISTORY, None))
    assert "the prompt was not kept" in caplog.text


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    """The layout, read by hand: magic, length and JSON header, cells, sha256 of all before it."""
    PromptCache(tmp_path, KEY).keep(tokens(5, *range(30)), b"the cells")
    (path,) = kept(tmp_path)
    data = path.read_bytes()
    start = len(b"genrec-edge kv\n")
    end = start + 4 + int.from_bytes(data[start : start + 4], "little")
    header = json.loads(data[start + 4 : end])
    assert header == {"key": {"format": prompt_cache.FORMAT, **KEY}, "tokens": [5, *range(30)]}
    assert data[end:-32] == b"the cells"
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]


def rewritten(path: Path, header: bytes, cells: bytes) -> None:
    """Write a file of prompts with a checksum that is right."""
    body = b"genrec-edge kv\n" + len(header).to_bytes(4, "little") + header + cells
    path.write_bytes(body + hashlib.sha256(body).digest())


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return header and cells of a file of prompts."""
    data = path.read_bytes()
    end = 19 + int.from_bytes(data[15:19], "little")
    return json.loads(data[19:end]), data[end:-32]


FORGED: dict[str, Callable[[dict[str, Any], bytes], tuple[bytes, bytes]]] = {
    "nested": lambda header, cells: (b"[" * 900_000, cells),
    "infinite": lambda header, cells: (json.dumps(header).encode()[:-2] + b", 1e999]}", cells),
    "a list": lambda header, cells: (b"[1]", cells),
    "text": lambda header, cells: (json.dumps(header | {"tokens": "123"}).encode(), cells),
    "lists": lambda header, cells: (json.dumps(header | {"tokens": [[1]]}).encode(), cells),
    "truths": lambda header, cells: (json.dumps(header | {"tokens": [True]}).encode(), cells),
    "huge": lambda header, cells: (json.dumps(header | {"tokens": header["tokens"] + [10**4000]}).encode(), cells),
    "negative": lambda header, cells: (json.dumps(header | {"tokens": [-t for t in header["tokens"]]}).encode(), cells),
    "no tokens": lambda header, cells: (json.dumps(header | {"tokens": []}).encode(), b""),
    "no cells": lambda header, cells: (json.dumps(header).encode(), b""),
    "half": lambda header, cells: (json.dumps(header).encode(), cells[: len(cells) // 2]),
    "longer": lambda header, cells: (json.dumps(header | {"tokens": header["tokens"] + [1]}).encode(), cells),
    "no number": lambda header, cells: (json.dumps(header).encode(), cells[:-256] + b"\xff" * 256),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_file_costs_nothing_but_time(
    stored: ModelFile, tricky_path: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = ask(stored, tricky_path, HISTORY, tmp_path)
    (path,) = kept(tmp_path)
    rewritten(path, *FORGED[kind](*parts_of(path)))
    assert_same(ask(stored, tricky_path, HISTORY, tmp_path), expected)
    assert_same(ask(stored, tricky_path, HISTORY, tmp_path), expected)
    if kind in {"no cells", "half", "longer", "no number"}:
        assert "is damaged and was deleted" in caplog.text


def test_a_pipe_is_no_kept_prompt(stored: ModelFile, tricky_path: Path, tmp_path: Path) -> None:
    expected = ask(stored, tricky_path, HISTORY, tmp_path)
    (path,) = kept(tmp_path)
    path.unlink()
    os.mkfifo(path)  # opening it would wait for a writer
    assert_same(ask(stored, tricky_path, HISTORY, tmp_path), expected)


@pytest.mark.slow
def test_each_flipped_bit_is_noticed_or_harmless(tmp_path: Path, trials: Callable[[int, int], int]) -> None:
    prompt = tokens(*range(50))
    cells = random.Random(0).randbytes(500)
    for seed in range(trials(100, 5_000)):
        cache = PromptCache(tmp_path, KEY)
        cache.keep(prompt, cells)
        (path,) = kept(tmp_path)
        with flipped_bit(path, random.Random(seed)):
            near = cache.nearest(prompt, 0)
            assert near is None or cache.read(near) in {None, cells}


def test_a_full_disk_costs_nothing_but_time(
    stored: ModelFile, tricky_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Recommender.open(stored, tricky_path, n_threads=1, prompts_path=tmp_path / "prompts") as r:
        with largest_file(1_000):
            found = r.recommend(HISTORY, k=5)
        r.forget()
        assert_same(r.recommend(HISTORY, k=5), found)
    assert "the prompt was not kept" in caplog.text
    assert "bytes free" in caplog.text


KILLED = """
import os, signal, sys
from pathlib import Path
from genrec_edge.engine.prompt_cache import PromptCache
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
PromptCache(Path(sys.argv[1]), {"model": "m"}).keep(range(1000, 1050), b"the cells")
"""


def killed_while_keeping(folder: Path) -> Path:
    """Return what a process leaves that is killed when a prompt is written and has not its name yet."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    (part,) = folder.iterdir()
    assert b"1049" in part.read_bytes()
    return part


def test_what_killed_processes_left_is_deleted_at_the_next_start(tmp_path: Path) -> None:
    killed_while_keeping(tmp_path)
    living = partial_file(tmp_path / "b.kv")
    living.touch()
    PromptCache(tmp_path, {"model": "other"})
    assert list(tmp_path.iterdir()) == [living]


def test_everything_is_cleared_also_what_is_being_written(tmp_path: Path) -> None:
    PromptCache(tmp_path, KEY).keep(tokens(*range(50)), b"x")
    shutil.copy(kept(tmp_path)[0], tmp_path / "other.kv")
    partial_file(tmp_path / "a.kv").write_bytes(b"ours")
    (tmp_path / ".a.kv.00000000-1.00000000.part").write_bytes(b"of another host")
    (tmp_path / "notes.txt").touch()
    assert prompt_cache.clear(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert prompt_cache.clear(tmp_path / "none") == 0
    (tmp_path / "folder.kv").mkdir()
    with pytest.raises(UsageError, match=r"cannot be deleted: .*folder\.kv"):
        prompt_cache.clear(tmp_path)


@pytest.mark.model
def test_a_second_command_reuses_the_first_ones_prompt(default_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_MODELS", str(default_model.parents[1]))
    titles = ["Toy Story", "Sense and Sensibility", "Much Ado About Nothing", "Four Weddings and a Funeral"]
    titles += ["The Silence of the Lambs", "Beauty and the Beast", "Snow White and the Seven Dwarfs"]
    titles += ["Mission: Impossible", "The Hunchback of Notre Dame", "Robin Hood: Prince of Thieves"]

    def timings(titles: list[str]) -> dict[str, int]:
        history = [part for title in titles for part in ("-H", title)]
        result = CliRunner().invoke(cli.app, ["recommend", *history, "-k", "3", "--json", "--offline", "--quiet"])
        assert result.exit_code == 0, result.output
        found: dict[str, int] = json.loads(result.stdout)["timings"]
        return found

    assert timings(titles[:4])["reused_tokens"] == 0
    assert timings(titles)["reused_tokens"] >= MIN_SAVED_TOKENS
    again = timings(titles)
    assert again["reused_tokens"] == again["prompt_tokens"] - 1
    assert CliRunner().invoke(cli.app, ["profile", "forget", "--all"]).exit_code == 0
    assert kept(paths.prompts_path()) == []
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", "0")
    assert timings(titles)["reused_tokens"] == 0
    assert kept(paths.prompts_path()) == []
