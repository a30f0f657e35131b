"""Folders of arrays, whatever the arrays mean: whole or damaged, hashed or mapped, kept or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.storage import array_folder
from genrec_edge.storage.array_folder import ArrayFormat, DamagedArraysError
from genrec_edge.storage.made_folder import MadeFolder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FORM = ArrayFormat("made@1", frozenset({"of"}), {"small": "<u1", "none": "<i8"})
ARRAYS: dict[str, NDArray[Any]] = {"small": np.array([3, 1, 2]), "none": np.empty(0)}

Read = tuple[dict[str, str], dict[str, list[Any]]]


def made(key: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> Read:
    return dict(key), {name: array.tolist() for name, array in arrays.items()}


def read(path: Path, form: ArrayFormat = FORM, wrong: str = "") -> Read | None:
    return array_folder.read(path, form, made, lambda _: wrong)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    array_folder.write(tmp_path / "made", FORM, {"of": "this"}, ARRAYS)
    return tmp_path / "made"


def test_what_is_read_is_what_was_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ({"of": "this"}, {"small": [3, 1, 2], "none": []})
    assert read(path) == expected
    monkeypatch.setattr(array_folder, "_SMALL_BYTES", 0)
    assert read(path) == expected
    assert read(path.with_name("nothing")) is None
    assert np.load(path / "small.npy").tolist() == [3, 1, 2]  # any program can read them


def test_the_check_has_the_last_word(path: Path) -> None:
    with pytest.raises(DamagedArraysError, match="as it says"):
        read(path, wrong="as it says")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "made@2"}, "of another format"),
        ({"more": "x"}, "of another format"),
        ({"of": 7}, "something else than texts"),
        ({"sha256": None}, "has not the hash of each array"),
        ({"sha256": {"small": ""}}, "has not the hash of each array"),
        ({"sha256": {"small": "", "none": ""}}, "small.npy is not what was written"),
    ],
)
def test_a_key_of_something_else_is_said_to_be(path: Path, changes: dict[str, object], message: str) -> None:
    key = json.loads((path / "key.json").read_text()) | changes
    (path / "key.json").write_text(json.dumps(key))
    with pytest.raises(DamagedArraysError, match=message):
        read(path)


def test_only_formats_that_had_none_may_lack_hashes(path: Path) -> None:
    key = json.loads((path / "key.json").read_text())
    del key["sha256"]
    (path / "key.json").write_text(json.dumps(key))
    old = ArrayFormat(FORM.name, FORM.fields, FORM.kinds, may_lack_hashes=True)
    assert read(path, old) is not None
    with pytest.raises(DamagedArraysError):
        read(path)


def folder_of(path: Path) -> MadeFolder[Read]:
    def write(_: Read, to: Path) -> None:
        array_folder.write(to, FORM, {"of": "this"}, ARRAYS)

    return MadeFolder("the thing", path, read, write)


def test_a_folder_that_can_be_made_again_is_worth_a_word_at_most(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(path)
    (path / "small.npy").write_bytes(b"")
    assert folder.peek() is None
    assert not caplog.records
    assert folder.read() is None
    assert f"the thing in {path} is damaged (" in caplog.text
    with folder.writing(lambda: None) as can_write:
        assert can_write
        assert folder.keep(({}, {}))
    assert folder.peek() == read(path)


def test_what_cannot_be_kept_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    folder = folder_of(tmp_path / "file" / "made")
    with folder.writing(lambda: None) as can_write:
        assert not can_write
    assert [record.getMessage() for record in caplog.records] == [
        f"the thing is not kept in {tmp_path / 'file'}, and is built again at the next start: File exists"
    ]
