"""What several test files build on: tiny GGUF files, folders of their own, the store of the real model."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

from genrec_edge import paths
from genrec_edge.catalog import build, default_catalog_path
from genrec_edge.registry import KnownModel, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from genrec_edge.pull import Make

# Before any test loads llama.cpp by itself: waiting threads sleep, so that tests beside a busy process still end.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

_REAL_MODELS = paths.models_path()
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
def real_models_path() -> Path:
    """The store of tests marked `model`: the user's own, so that the default model is fetched once."""
    return _REAL_MODELS


@pytest.fixture(scope="session")
def smollm2(real_models_path: Path) -> Path:
    """Returns the GGUF of SmolLM2-135M as it comes, fetched on first use."""
    from genrec_edge.llama import quantize

    return _pulled(real_models_path, "smollm2-135m", lambda a, b, known: quantize(a, b, known.quant))


@pytest.fixture(scope="session")
def default_model(real_models_path: Path) -> Path:
    """Returns the GGUF of the real default model, made on first use."""
    from genrec_edge.convert.arrival import make_tuned
    from genrec_edge.registry import load_registry

    return _pulled(real_models_path, load_registry().default, make_tuned)


def _pulled(models_path: Path, name: str, make: Make) -> Path:
    from genrec_edge.store import ModelStore

    store = ModelStore(models_path)
    store.pull(name, make=make, offline=False, on_event=lambda *_: None)
    return store.get(name)[0]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Moves every folder of the user below `tmp_path`."""
    for variable in [name for name in os.environ if name.startswith("GENREC_EDGE_")]:
        monkeypatch.delenv(variable)
    home = tmp_path / "home"
    monkeypatch.setenv("GENREC_EDGE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def tiny_gguf() -> Callable[..., Path]:
    """Returns a function that writes a GGUF with the header of a LLaMA; its two tensors make no model."""
    return write_tiny_gguf


def write_tiny_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    n_tokens: int = 100,
    keys: Mapping[str, Any] | None = None,
    tensors: Mapping[str, NDArray[Any]] | None = None,
    reverse: bool = False,
) -> Path:
    """Write a small GGUF with the `gguf` package.

    `keys` overrides or adds metadata; a value of None leaves the key out. `reverse` turns the order round.
    """
    gguf = pytest.importorskip("gguf")
    values: dict[str, Any] = {
        "general.file_type": 0,
        f"{architecture}.context_length": 64,
        f"{architecture}.embedding_length": 8,
        f"{architecture}.block_count": 1,
        f"{architecture}.feed_forward_length": 16,
        f"{architecture}.attention.head_count": 2,
        f"{architecture}.attention.head_count_kv": 1,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [f"t{i}" for i in range(n_tokens)],
        "tokenizer.ggml.token_type": [1] * n_tokens,
        "tokenizer.ggml.merges": [f"t {i}" for i in range(n_tokens)],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        **(keys or {}),
    }
    if tensors is None:
        tensors = {
            "token_embd.weight": np.zeros((n_tokens, 8), np.float32),
            "output_norm.weight": np.ones(8, np.float32),
        }
    writer = gguf.GGUFWriter(path, architecture)
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key in reversed(values) if reverse else values:
        if isinstance(value := values[key], list):
            writer.add_array(key, value)
        elif value is not None:
            add[type(value)](key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny_wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnownModel]:
    """Returns a wheel with a tiny GGUF, alone in its folder, and what a registry would say of it."""
    folder = tmp_path_factory.mktemp("wheels")
    model = write_tiny_gguf(folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").unlink()
    wheel_path = folder / "genrec_tiny-1.0-py3-none-any.whl"
    info = "genrec_tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel_path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("genrec_tiny/tiny.gguf", model)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: genrec-tiny\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    known = KnownModel(
        package="genrec-tiny",
        version="1.0",
        wheel_bytes=wheel_path.stat().st_size,
        wheel_sha256=hashlib.sha256(wheel_path.read_bytes()).hexdigest(),
        member="genrec_tiny/tiny.gguf",
        member_bytes=len(model),
        member_sha256=hashlib.sha256(model).hexdigest(),
        quant="F32",
        file="tiny-F32.gguf",
        file_bytes=len(model),
        licence="CC0-1.0",
        base_model="nobody/tiny",
        notes="made for tests",
    )
    return wheel_path, known


@pytest.fixture
def tiny_index(tiny_wheel: tuple[Path, KnownModel], own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Shows pip the folder of the tiny wheel and nothing else; returns a registry of that one model."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny_wheel[0].parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return Registry("tiny", {"tiny": tiny_wheel[1]})


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a LLaMA of two layers with random weights that llama.cpp runs; every byte is a token."""
    return write_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny-llama.gguf")


def write_tiny_llama(path: Path, *, seed: int = 0, n_ctx: int = 2048) -> Path:
    """Write a GGUF of two layers, width 32, four heads and two KV heads, tied embeddings, byte-level vocabulary.

    The weights are large enough for peaked distributions: a flat model would hide errors of the search.
    """
    width, hidden, n_layers, n_heads, n_kv_heads = 32, 64, 2, 4, 2
    tokens, merges = _byte_vocabulary()
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        return rng.normal(0, scale, (rows, columns)).astype(np.float32)

    tensors = {
        "token_embd.weight": matrix(len(tokens), width, 0.6),
        "output_norm.weight": np.ones(width, np.float32),
    }
    kv_width = width // n_heads * n_kv_heads
    shapes = {
        "attn_q": (width, width),
        "attn_k": (kv_width, width),
        "attn_v": (kv_width, width),
        "attn_output": (width, width),
        "ffn_gate": (hidden, width),
        "ffn_up": (hidden, width),
        "ffn_down": (width, hidden),
    }
    for layer in range(n_layers):
        tensors |= {f"blk.{layer}.{name}.weight": matrix(*shape, 0.4) for name, shape in shapes.items()}
        tensors |= {f"blk.{layer}.{name}_norm.weight": np.ones(width, np.float32) for name in ("attn", "ffn")}
    keys = {
        "general.name": "tiny",
        "llama.context_length": n_ctx,
        "llama.embedding_length": width,
        "llama.block_count": n_layers,
        "llama.feed_forward_length": hidden,
        "llama.attention.head_count": n_heads,
        "llama.attention.head_count_kv": n_kv_heads,
        "llama.rope.dimension_count": width // n_heads,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token == "<|end|>" else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }
    return write_tiny_gguf(path, n_tokens=len(tokens), keys=keys, tensors=tensors)


def _byte_vocabulary() -> tuple[list[str], list[str]]:
    """Return tokens and merges of a byte-level BPE: all bytes, some pairs, one control token."""
    # The printable stand-ins of byte-level BPE: source https://github.com/openai/gpt-2/blob/9b63575/src/encoder.py#L9
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(others))]
    merges = [
        "t h",
        "th e",
        "a n",
        "i n",
        "e r",
        "T h",
        "Th e",
        "A l",
        "i e",
        "ie n",
        "Al ien",
        "\u0120 t",
        "o u",
    ]
    return [*characters, *(merge.replace(" ", "") for merge in merges), "<|end|>"], merges


@pytest.fixture(scope="session")
def films_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog that comes with the package, built once."""
    home = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_CATALOGS", str(home))
        return default_catalog_path()


def write_bigram_llama(path: Path, next_of: Mapping[str, Mapping[str, float]]) -> Path:
    """Write a LLaMA whose next character depends on the last one alone, with known probabilities.

    `next_of["a"]` maps the ASCII characters that follow "a" to their probabilities; "<|end|>" ends the text.
    Everything else is as good as impossible. The embeddings are one-hot and the layer does nothing, so the
    distribution can be read off the output matrix.
    """
    tokens, merges = _byte_vocabulary()
    width, epsilon = 288, 1e-5
    zeros = np.zeros((width, width), np.float32)
    layer = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    output = np.full((len(tokens), width), -40.0, np.float32)
    for last, followers in next_of.items():
        for character, probability in followers.items():
            output[_token_of(character, tokens), _token_of(last, tokens)] = np.log(probability)
    tensors = {
        "token_embd.weight": np.eye(len(tokens), width, dtype=np.float32),
        "output_norm.weight": np.ones(width, np.float32),
        # The factor undoes the norm of a one-hot vector.
        "output.weight": output * np.float32(np.sqrt(1 / width + epsilon)),
        **{f"blk.0.{name}.weight": zeros for name in layer},
        **{f"blk.0.{name}_norm.weight": np.ones(width, np.float32) for name in ("attn", "ffn")},
    }
    keys = {
        "llama.context_length": 2048,
        "llama.embedding_length": width,
        "llama.feed_forward_length": width,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 4,
        "llama.rope.dimension_count": width // 4,
        "llama.attention.layer_norm_rms_epsilon": epsilon,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token == "<|end|>" else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }
    return write_tiny_gguf(path, n_tokens=len(tokens), keys=keys, tensors=tensors)


def _token_of(character: str, tokens: list[str]) -> int:
    # Byte-level BPE shows the n-th unprintable byte as chr(256 + n); the line break is the tenth of them.
    shown = {"\n": chr(256 + ord("\n")), " ": chr(256 + 32)}
    return tokens.index(shown.get(character, character))


@pytest.fixture(scope="session")
def bigram_llama() -> Callable[[Path, Mapping[str, Mapping[str, float]]], Path]:
    """Returns a function that writes a LLaMA whose next character depends on the last one alone."""
    return write_bigram_llama


@pytest.fixture(scope="session")
def tricky_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the catalog of `data/tricky.csv`: 60 titles hard to tell apart, to spell or to tokenise.

    Tests that change a catalog copy it first.
    """
    path = tmp_path_factory.mktemp("tricky") / "tricky.db"
    build(Path(__file__).parent / "data" / "tricky.csv", path)
    return path


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
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of 12 films, two of them namesakes, and 6 users with 4 to 9 events each."""
    from genrec_edge.convert.dataset import About, Columns, import_files

    folder = tmp_path_factory.mktemp("small")
    titles = [
        "A",
        "A1",
        "B",
        "B1",
        "C",
        "Alien (1979)",
        "Aliens (1986)",
        "Heat (1995)",
        "Heat (1995)",
        "Ran",
        "M",
        "Up",
    ]
    items = "".join(f"i{i},{title}\n" for i, title in enumerate(titles))
    (folder / "items.csv").write_text(f"id,title\n{items}", encoding="utf-8")
    rng = np.random.default_rng(5)
    met = [rng.permutation(12)[:n].tolist() for n in (4, 5, 6, 7, 8, 9)]
    events = "".join(f"u{u},i{item},{time}\n" for u, own in enumerate(met) for time, item in enumerate(own))
    (folder / "events.csv").write_text(f"user,item,timestamp\n{events}", encoding="utf-8")
    about, out = About("small", "Small", "CC0-1.0"), folder / "small"
    files = (folder / "events.csv", folder / "items.csv")
    return import_files(*files, out, about, Columns(), force=False, on_event=lambda *_: None)


@pytest.fixture(scope="session")
def tiny_base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns `tiny_llama` as a Hugging Face folder in float32."""
    from genrec_edge.convert.folder_writer import write_folder
    from genrec_edge.convert.gguf_base import read_gguf

    folder = tmp_path_factory.mktemp("base") / "tiny"
    write_folder(read_gguf(tiny_llama), folder, "F32")
    return folder


@pytest.fixture(scope="session")
def cycle_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of 20 films that 40 users watch in one order, from different films on, 5 to 14 each.

    Titles begin alike, contain each other, and one is there twice, so that its two items have one spelling.
    """
    from genrec_edge.convert.dataset import About, Columns, import_files

    folder = tmp_path_factory.mktemp("cycle")
    titles = (
        "Alien,Aliens,Alien 3,The Thing,The Thing from Space,Heat,Heat Wave,Up,Upgrade,Jaws,Jaws 2,Rocky,Rocky II,"
        "Rocky III,The Fly,Big,Big Fish,Big,Fargo,Ran"
    )
    items = "".join(f"i{i},{title},1980\n" for i, title in enumerate(titles.split(",")))
    (folder / "items.csv").write_text(f"id,title,year\n{items}", encoding="utf-8")
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(20, size=40), rng.integers(5, 15, size=40)
    met = [
        (user, (start + k) % 20, k)
        for user, (start, n) in enumerate(zip(starts, lengths, strict=True))
        for k in range(n)
    ]
    events = "".join(f"u{user},i{item},{time}\n" for user, item, time in met)
    (folder / "events.csv").write_text(f"user,item,timestamp\n{events}", encoding="utf-8")
    about, out = About("cycle", "Cycle", "CC0-1.0"), folder / "cycle"
    files = (folder / "events.csv", folder / "items.csv")
    return import_files(*files, out, about, Columns(), force=False, on_event=lambda *_: None)


@pytest.fixture(scope="session")
def facts_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of 24 films with genres, directors and decades, of which 40 users watch those of one genre.

    Two of the films have one spelling.
    """
    from genrec_edge.convert.dataset import About, Columns, import_files

    folder = tmp_path_factory.mktemp("facts")
    titles = [
        f"{'The ' * (i % 2)}{['Red', 'Blue', 'Green', 'Old', 'New', 'Last'][i % 6]} {'Moon'[: 1 + i % 4]}{i // 12}"
        for i in range(24)
    ]
    titles[7] = titles[1]
    lines = ["id,title,year,genres,director"]
    for i, title in enumerate(titles):
        genre, director = ("Comedy", "Drama", "Horror")[i % 3], f"Director {'ABCD'[i % 4]}"
        lines.append(f"i{i},{title},{1985 + i % 2 * 10},{genre}|{'War' if i % 5 else 'Family'},{director}")
    (folder / "items.csv").write_text("\n".join(lines), encoding="utf-8")
    rng = np.random.default_rng(0)
    events = ["user,item,timestamp"]
    for user in range(40):
        own = rng.permutation(np.arange(user % 3, 24, 3))[: 5 + user % 4]
        events += [f"u{user},i{item},{time}" for time, item in enumerate(own.tolist())]
    (folder / "events.csv").write_text("\n".join(events), encoding="utf-8")
    about, out = About("facts", "Facts", "CC0-1.0"), folder / "facts"
    files = (folder / "events.csv", folder / "items.csv")
    return import_files(*files, out, about, Columns(), force=False, on_event=lambda *_: None)


@pytest.fixture(scope="session")
def ml_100k(recbole_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the data set MovieLens 100K, as `data pull` makes it; its licence does not allow to ship it.

    Tests that change it copy it first.
    """
    from genrec_edge.convert.dataset import pull

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


@pytest.fixture(scope="session")
def job_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file of 56 users of the tricky catalog; some cannot be answered, and one asks for 13 items."""
    rng = random.Random(0)
    titles = ["Toy Story", "Alien", "Aliens", "Alien Nation", "Matrix, The", "Amélie"]
    path = tmp_path_factory.mktemp("users") / "users.jsonl"
    rows: list[dict[str, Any]] = [
        {"user": f"u{n}", "history": rng.sample(titles, rng.randint(1, 5))} for n in range(56)
    ]
    rows[3]["history"] = ["no such title at all", "nor this one"]
    rows[20]["k"] = 1000
    rows[21] |= {"where": "colour = 'red'"}
    rows[40] |= {"k": 13}
    rows[41]["history"] = [{"id": "004", "rating": 5, "timestamp": 2}, {"title": "Toy Story", "timestamp": 1}]
    rows[42] |= {"where": "year < 1990", "exclude": ["Aliens"], "k": 2, "preference": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
