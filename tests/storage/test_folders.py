"""The hidden folder of a conversion, its way into the store, and the extra it needs."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.cli.output import needs_extra
from genrec_edge.errors import DiskFullError, LockedError, MissingExtraError, ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.hub.manifest import Manifest
from genrec_edge.hub.store import ModelStore
from genrec_edge.storage.files import file_identity
from genrec_edge.storage.folders import install, partial_folder, partial_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.hub.registry import Registry

JOB = {"name": "films", "quants": ["Q8_0"], "layers": None}


@pytest.fixture
def out(tmp_path: Path, own_home: Path) -> Path:
    return tmp_path / "out"


def begin(out: Path, *names: str, job: dict[str, Any] = JOB) -> None:
    """Leave files behind as a killed run would."""
    with partial_folder(out, job, resume=False) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_second_process_is_told_to_wait(out: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom genrec_edge.storage.folders import partial_folder\n"
        "with partial_folder(Path(sys.argv[1]), {}, resume=False) as folder:\n"
        "    (folder / 'of-the-first').touch()\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", script, os.path.relpath(out, out.parent)],
        cwd=out.parent,  # another spelling of the same folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with (
            pytest.raises(LockedError, match=f"{out} is being written by another process .{first.pid}.") as caught,
            partial_folder(out, JOB, resume=False),
        ):
            pass
        assert "another `out`" in caught.value.hint
        assert names(partial_path(out)) == {"job.json", "of-the-first"}
        with partial_folder(out.with_name("other"), JOB, resume=False):  # which is not held
            pass
        first.kill()
        first.wait()
    with partial_folder(out, JOB, resume=False) as folder:  # the dead hold nothing
        assert names(folder) == {"job.json"}


def test_one_run_begins_with_nothing_and_another_where_the_first_one_was(out: Path) -> None:
    begin(out, "model.gguf", "merged/model.safetensors", ".model.gguf.1-2.part", "x.part")
    with partial_folder(out, JOB, resume=True) as folder:
        assert folder == partial_path(out)
        assert names(folder) == {"job.json", "model.gguf", "merged/model.safetensors"}
    with partial_folder(out, JOB, resume=False) as folder:
        assert names(folder) == {"job.json"}
    with partial_folder(out.with_name("new"), JOB, resume=True) as folder:  # nothing to resume is no error
        assert names(folder) == {"job.json"}


def test_the_same_job_is_the_same_in_whatever_order_and_type(out: Path) -> None:
    begin(out, "model.gguf")
    again = {"layers": None, "quants": ("Q8_0",), "name": "films"}
    with partial_folder(out, again, resume=True) as folder:
        assert "model.gguf" in names(folder)


def test_what_another_job_left_is_kept_until_somebody_begins_anew(out: Path) -> None:
    begin(out, "model.gguf")
    other = {**JOB, "quants": ["Q4_0"], "keep_f16": True}
    found = "another job: keep_f16, quants differ"
    with pytest.raises(UsageError, match=found) as caught, partial_folder(out, other, resume=True):
        pass
    assert "`resume`" in caught.value.hint
    assert "model.gguf" in names(partial_path(out))
    with partial_folder(out, other, resume=False) as folder:
        assert names(folder) == {"job.json"}
    with partial_folder(out, other, resume=True):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_record_is_another_job(content: bytes, out: Path) -> None:
    begin(out, "model.gguf")
    (partial_path(out) / "job.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"another job: [\w ,]+ differ"), partial_folder(out, JOB, resume=True):
        pass
    with partial_folder(out, JOB, resume=False) as folder:
        assert names(folder) == {"job.json"}


def test_an_error_leaves_the_folder_and_frees_the_lock(out: Path) -> None:
    def fail() -> None:
        with partial_folder(out, JOB, resume=False) as folder:
            (folder / "whole").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with partial_folder(out, JOB, resume=True) as folder:
        assert "whole" in names(folder)


@pytest.mark.parametrize("there", [False, True])
def test_the_result_is_what_is_kept_and_nothing_else(out: Path, there: bool) -> None:
    if there:
        out.mkdir()
    elsewhere = out.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    with partial_folder(out, JOB, resume=False) as folder:
        for name in ("model.gguf", "model-F16.gguf", "checkpoint/config.json", "merged/config.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)
        (folder / "link").symlink_to(elsewhere)
        install(folder, out, kept={"model.gguf", "checkpoint"})
    assert names(out) == {"model.gguf", "checkpoint/config.json"}
    assert not partial_path(out).exists()
    assert names(elsewhere) == {"file"}


def test_a_file_is_told_from_its_next_version_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    before = file_identity(path)
    assert file_identity(tmp_path / "." / "a") == before
    os.utime(path, ns=(1, 2))
    assert file_identity(path) != before
    path.write_bytes(b"four")
    os.utime(path, ns=(1, 1))
    assert file_identity(path) != before


@pytest.fixture
def made(tiny_gguf: Callable[..., Path], tmp_path: Path) -> tuple[Path, Manifest]:
    path = tiny_gguf(tmp_path / "films-Q8_0.gguf")
    data = path.read_bytes()
    header = read_header(path)
    manifest = Manifest(
        name="films",
        file=path.name,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        architecture="llama",
        quant="F32",
        n_params=header.n_params,
        licence="MIT",
        base_model="tiny",
        source=None,
        tokenizer_fingerprint=tokenizer_fingerprint(header, path),
        created="2026-01-01T00:00:00+00:00",
        tool_version="0",
    )
    return path, manifest


@pytest.fixture
def store(tiny_index: Registry, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", registry=tiny_index)


def no_event(*_: object) -> None:
    pass


def no_links(_self: Path, _target: Path) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("links", [True, False])
def test_a_made_file_is_in_the_store_linked_or_copied(
    links: bool, store: ModelStore, made: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = made
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert store.add(path, manifest, no_event) == manifest
    stored, found = store.get("films")
    assert found == manifest
    assert stored.samefile(path) == links
    assert store.verify("films") == manifest
    assert stored.read_bytes() == path.read_bytes()
    assert {p.name for p in store.root.iterdir()} <= {"films", ".lock"}
    path.unlink()
    assert store.verify("films") == manifest


def test_names_in_use_are_refused_and_nothing_is_replaced(store: ModelStore, made: tuple[Path, Manifest]) -> None:
    path, manifest = made
    store.add(path, manifest, no_event)
    with pytest.raises(UsageError, match=r"in .* already") as caught:
        store.add(path, manifest, no_event)
    assert caught.value.hint.endswith("genrec-edge models rm films")
    with pytest.raises(UsageError, match="'tiny' is the name of a model that can be pulled"):
        store.require_absent("tiny")
    with pytest.raises(UsageError, match="not a model's name"):
        store.require_absent("../films")
    store.require_absent("films-q4_0")
    assert store.get("films")[1] == manifest


def test_a_name_taken_while_waiting_for_the_lock_is_refused(
    store: ModelStore, made: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = made
    other = ModelStore(store.root, registry=store.registry)
    absent = store.require_absent

    def taken_right_after(name: str) -> None:
        absent(name)
        monkeypatch.undo()
        other.add(path, manifest, no_event)

    monkeypatch.setattr(store, "require_absent", taken_right_after)
    with pytest.raises(UsageError, match="already"):
        store.add(path, manifest, no_event)
    assert store.verify("films") == manifest


@pytest.mark.parametrize("moment", ["before", "while"])
def test_a_full_disk_leaves_no_trace(
    moment: str, store: ModelStore, made: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = made
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    usage = shutil.disk_usage(path)
    free = manifest.size_bytes - (moment == "before")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=free))
    copied = []

    def full(_source: Path, target: Path) -> None:
        copied.append(target)
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DiskFullError, match="no room"):
        store.add(path, manifest, no_event)
    assert len(copied) == (moment == "while")
    assert {p.name for p in store.root.iterdir()} <= {".lock"}
    monkeypatch.undo()
    assert store.add(path, manifest, no_event) == manifest


def test_a_file_that_is_not_what_its_manifest_says_is_found(store: ModelStore, made: tuple[Path, Manifest]) -> None:
    path, manifest = made
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelInvalidError):
        store.add(path, manifest, no_event)


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["genrec-edge", "convert", "--base", "no-such", "--out", "out", "--license", "MIT"]
from genrec_edge.cli import main
main()
"""


@pytest.mark.parametrize("module", ["gguf", "matplotlib"])
def test_a_missing_part_is_one_line_before_any_work(module: str, tmp_path: Path) -> None:
    """Also of those modules that only the last step loads."""
    script = BLOCKER.format(module=module)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == MissingExtraError.exit_code == 13
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {module} is not installed, which this command needs; pip install 'genrec-edge[convert]'\n"
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [("gguf", True), ("gguf.quants", True), ("ggufish", False), ("genrec_edge.convert.nothing", False), (None, False)],
)
def test_only_modules_of_the_extra_count_as_missing(name: str | None, missing: bool) -> None:
    with pytest.raises(MissingExtraError if missing else ModuleNotFoundError), needs_extra("convert"):
        raise ModuleNotFoundError(name=name)


def test_a_broken_module_is_not_a_missing_one(tmp_path: Path) -> None:
    """One of an extra that is there and lacks something of its own."""
    (tmp_path / "gguf.py").write_text("import a_module_that_is_not_there\n")
    script = BLOCKER.format(module="nothing").replace(
        "import sys\n", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No module named 'a_module_that_is_not_there'" in done.stderr
    assert "pip install" not in done.stderr
