"""Opening a base of either format, and where a result may be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.checkpoint.open import open_base, require_absent
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_and_a_gguf_are_the_same_base(tiny_llama: Path, tiny_base: Path) -> None:
    folder, gguf = open_base(tiny_base), open_base(tiny_llama)
    assert (folder.path, gguf.path) == (tiny_base, tiny_llama)
    assert folder.config == gguf.config
    assert folder.tensors.keys() == gguf.tensors.keys()


def test_a_base_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.gguf does not exist") as caught:
        open_base(tmp_path / "none.gguf")
    assert ".gguf file" in caught.value.hint


def test_a_result_may_replace_only_an_empty_folder(tmp_path: Path) -> None:
    require_absent(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    require_absent(tmp_path / "empty")
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to("empty")
    for name in ("file", "full", "link"):
        with pytest.raises(UsageError, match=f"{name} exists") as caught:
            require_absent(tmp_path / name)
        assert "`out`" in caught.value.hint
    with pytest.raises(UsageError, match=r"`out` is .*cannot be the name"):
        require_absent(tmp_path / "..")
