"""Files that packages of a package index carry, fetched once: vocabularies, tokenizers, MovieLens 100K."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from genrec_edge.storage import paths

_REAL_CACHE = paths.cache_path()
_LLAMA_CPP = os.environ.get("GENREC_EDGE_LLAMA_CPP", "")
_LLAMA_CPP_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_VOCABS_PATH = "vendor/llama.cpp/models"
_VOCABS = ("llama-spm", "llama-bpe", "qwen2", "gpt-2")
_RECBOLE = os.environ.get("GENREC_EDGE_RECBOLE_WHEEL", "")
_RECBOLE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_MISTRAL_SHA256 = "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af"
_MISTRAL_V1_SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"


@pytest.fixture(scope="session")
def llama_vocabs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with vocabularies of llama.cpp and what they make of some texts (`.inp`, `.out`).

    They come out of the source package of llama-cpp-python, fetched once; `GENREC_EDGE_LLAMA_CPP` names it, packed or
    unpacked, where it is at hand. Their licences do not allow to ship them.
    """
    if (unpacked := Path(_LLAMA_CPP, _VOCABS_PATH)).is_dir():
        return unpacked
    name = "llama_cpp_python-0.3.36"
    packed = (
        Path(_LLAMA_CPP)
        if _LLAMA_CPP
        else _fetched(f"{name}.tar.gz", _LLAMA_CPP_SHA256, "--no-binary=llama-cpp-python")
    )
    assert hashlib.sha256(packed.read_bytes()).hexdigest() == _LLAMA_CPP_SHA256
    folder = tmp_path_factory.mktemp("vocabs")
    files = {f"ggml-vocab-{vocab}.gguf{end}" for vocab in _VOCABS for end in ("", ".inp", ".out")}
    with tarfile.open(packed) as archive:
        for member in archive:  # in the order of the archive: looking for one would unpack everything twice
            directory, _, file_name = member.name.rpartition("/")
            if directory == f"{name}/{_VOCABS_PATH}" and file_name in files:
                content = archive.extractfile(member)
                assert content is not None
                (folder / file_name).write_bytes(content.read())
    assert {path.name for path in folder.iterdir()} == files
    return folder


@pytest.fixture(scope="session")
def mistral_v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the `tokenizer.model` of Mistral 7B, out of the package mistral-common, fetched once."""
    wheel_path = _fetched("mistral_common-1.13.1-py3-none-any.whl", _MISTRAL_SHA256, "--only-binary=:all:")
    with zipfile.ZipFile(wheel_path) as wheel:
        content = wheel.read("mistral_common/data/tokenizer.model.v1")
    assert hashlib.sha256(content).hexdigest() == _MISTRAL_V1_SHA256
    path = tmp_path_factory.mktemp("mistral") / "tokenizer.model"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="session")
def recbole_wheel() -> Path:
    """Returns the wheel that holds MovieLens 100K, fetched once; `GENREC_EDGE_RECBOLE_WHEEL` names it where it is."""
    if _RECBOLE:
        assert hashlib.sha256(Path(_RECBOLE).read_bytes()).hexdigest() == _RECBOLE_SHA256
        return Path(_RECBOLE)
    return _fetched("recbole-1.2.1-py3-none-any.whl", _RECBOLE_SHA256, "--only-binary=:all:")


@pytest.fixture(scope="session")
def ml_100k(recbole_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the data set MovieLens 100K, as `data pull` makes it; its licence does not allow to ship it.

    Tests that change it copy it first.
    """
    from genrec_edge.datasets.pull import pull

    folder = tmp_path_factory.mktemp("ml-100k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(folder / "home"))
        patch.setenv("PIP_FIND_LINKS", str(recbole_wheel.parent))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.delenv("GENREC_EDGE_OFFLINE", raising=False)
        return pull("ml-100k", None, offline=False, force=False, on_event=lambda *_: None)


def _fetched(file_name: str, sha256: str, kind: str) -> Path:
    """Fetch a file of the package index with pip, once for this user."""
    path = _REAL_CACHE / "tests" / file_name
    if not path.exists():
        package, version = file_name.removesuffix(".tar.gz").split("-")[:2]
        work = path.with_name(f"{file_name}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind, f"--dest={work}"]
        subprocess.run([*pip, f"{package}=={version}"], check=True)
        (work / file_name).replace(path)
        work.rmdir()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return path
