"""Manifests: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.hub.manifest import Manifest, PackageSource, load_manifest, save_manifest

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = Manifest(
    name="tiny",
    file="tiny-Q8_0.gguf",
    size_bytes=1234,
    sha256="ab" * 32,
    architecture="llama",
    quant="Q8_0",
    n_params=1000,
    licence="Apache-2.0",
    base_model="someone/tiny",
    source=PackageSource("tiny-package", "1.0", "cd" * 32, "tiny/tiny.gguf", "ef" * 32),
    tokenizer_fingerprint="12" * 32,
    created="2026-11-22T00:00:00+00:00",
    tool_version="0.1.0",
    notes="Grüße",
)


@pytest.mark.parametrize("manifest", [MANIFEST, replace(MANIFEST, source=None, score_kind="catalog")])
def test_a_saved_manifest_is_read_back(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "manifest.json"
    save_manifest(manifest, path)
    assert load_manifest(path) == manifest
    assert json.loads(path.read_text())["schema"] == "genrec-edge/manifest@1"
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "schema": ({"schema": "genrec-edge/manifest@2"}, "its schema is 'genrec-edge/manifest@2'"),
    "unknown": ({"colour": "red"}, "colour is unknown"),
    "missing": ({"sha256": ...}, "sha256 is missing"),
    "text for number": ({"size_bytes": "12"}, "size_bytes must be a positive integer"),
    "truth for number": ({"n_params": True}, "n_params must be a positive integer"),
    "negative": ({"size_bytes": -1}, "size_bytes must be a positive integer"),
    "number for text": ({"name": 3}, "name must be a string"),
    "null": ({"quant": None}, "quant must be a string"),
    "score kind": ({"score_kind": "words"}, "score_kind must be one of vocabulary, catalog"),
    "unhashable score kind": ({"score_kind": []}, "score_kind must be one of"),
    "source": ({"source": "pip"}, "source must be an object"),
    "source unknown": ({"source": {"url": "x"}}, "source.url is unknown; source.member is missing"),
    "source mistyped": (
        {"source": {"package": 1, "version": "", "wheel_sha256": "", "member": "", "member_sha256": ""}},
        "source.package must be a string",
    ),
    "path out of the folder": ({"file": "../other.gguf"}, "file must be the name of a file"),
    "absolute path": ({"file": "/etc/passwd"}, "file must be the name of a file"),
    "the folder": ({"file": ".."}, "file must be the name of a file"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_documents_are_refused(tmp_path: Path, name: str) -> None:
    changes, found = BAD[name]
    path = tmp_path / "manifest.json"
    save_manifest(MANIFEST, path)
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))
    with pytest.raises(ModelInvalidError, match=found) as caught:
        load_manifest(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '"\ud800"', " " * (2 << 20) + "{}"])
def test_what_is_no_manifest_at_all_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ModelInvalidError, match="is not a valid manifest"):
        load_manifest(path)


def test_a_missing_manifest_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match="No such file"):
        load_manifest(tmp_path / "manifest.json")


def test_everything_wrong_comes_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"schema": "genrec-edge/manifest@1", "name": 1, "extra": 2}))
    with pytest.raises(ModelInvalidError) as caught:
        load_manifest(path)
    for found in ("extra is unknown", "sha256 is missing", "name must be a string"):
        assert found in caught.value.message


def test_a_pipe_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")  # opening it would wait for a writer
    with pytest.raises(ModelInvalidError, match="it is not a file"):
        load_manifest(tmp_path / "manifest.json")
