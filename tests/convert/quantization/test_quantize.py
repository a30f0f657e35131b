"""Quantizing against the `gguf` package's own arithmetic and llama.cpp's refusals, and what is left when it fails."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest

from genrec_edge.convert.quantization import quantize as quantize_module
from genrec_edge.convert.quantization.quantize import NEEDS_IMATRIX, quantize_file
from genrec_edge.engine import bindings
from genrec_edge.engine.bindings import FILE_TYPES
from genrec_edge.errors import EngineError, ModelInvalidError, UsageError
from genrec_edge.gguf.header import GgufHeader, read_header
from genrec_edge.gguf.validate import check_runnable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]
    Weights = dict[str, NDArray[Any]]

N_TOKENS = 100
KIND = {tensor_type.name: tensor_type for tensor_type in gguf.GGMLQuantizationType}
FLOATS = {"F32": np.float32, "F16": np.float16}
# What llama.cpp puts in the place of a type whose blocks of 256 do not fit (docs of its quantizer's warnings).
SMALLER = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q2_K": "Q4_0", "Q3_K": "Q4_0"}


def weights(width: int, hidden: int, *, dtype: Any = np.float32, tied: bool = True, n_layers: int = 2) -> Weights:
    """Return the tensors of a LLaMA, random and of a usual size."""
    rng = np.random.default_rng(3)
    shapes = {"token_embd": (N_TOKENS, width)} | ({} if tied else {"output": (N_TOKENS, width)})
    layers = [f"blk.{layer}" for layer in range(n_layers)]
    for layer in layers:
        shapes |= {f"{layer}.attn_{name}": (width, width) for name in ("q", "output")}
        shapes |= {f"{layer}.attn_{name}": (width // 2, width) for name in ("k", "v")}
        shapes |= {f"{layer}.ffn_{name}": (hidden, width) for name in ("gate", "up")}
        shapes[f"{layer}.ffn_down"] = (width, hidden)
    tensors = {f"{name}.weight": rng.normal(0, 0.05, shape).astype(dtype) for name, shape in shapes.items()}
    norms = ["output", *(f"{layer}.{part}" for layer in layers for part in ("attn", "ffn"))]
    return tensors | {f"{name}_norm.weight": np.ones(width, np.float32) for name in norms}


def keys(width: int, hidden: int, *, n_layers: int = 2) -> dict[str, int]:
    sizes = {"embedding_length": width, "feed_forward_length": hidden, "block_count": n_layers}
    return {f"llama.{name}": size for name, size in (sizes | {"attention.head_count": 4}).items()} | {
        "llama.attention.head_count_kv": 2
    }


@pytest.fixture(scope="session")
def wide(tiny_gguf: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in float32 whose rows are multiples of 256, as those of all usual models are."""
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    one_layer = {"keys": keys(256, 256, n_layers=1), "tensors": weights(256, 256, n_layers=1)}
    return tiny_gguf(path, n_tokens=N_TOKENS, **one_layer)


@pytest.fixture(scope="session")
def odd(tiny_gguf: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose rows are not, apart from those of `ffn_down`; its output matrix is its own."""
    path = tmp_path_factory.mktemp("odd") / "odd.gguf"
    return tiny_gguf(path, n_tokens=N_TOKENS, keys=keys(96, 256), tensors=weights(96, 256, tied=False))


def importances(header: GgufHeader) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    matrices = [tensor for tensor in header.tensors if len(tensor.shape) == 2]
    return {t.name: rng.exponential(size=t.shape[0]).astype(np.float32) for t in matrices}


def data(path: Path) -> dict[str, bytes]:
    raw = path.read_bytes()
    return {t.name: raw[t.offset : t.offset + t.n_bytes] for t in read_header(path).tensors}


def test_the_numbers_of_the_types_are_those_of_the_library() -> None:
    lib = bindings.library()
    for name, number in FILE_TYPES.items():
        prefix = "LLAMA_FTYPE_ALL_" if name == "F32" else "LLAMA_FTYPE_MOSTLY_"
        assert getattr(lib, prefix + name) == number


@pytest.mark.slow
@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_every_type_is_written_or_refused_without_an_importance_matrix_as_llama_cpp_does(
    wide: Path, tmp_path: Path, file_type: str
) -> None:
    target, again = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    if file_type in NEEDS_IMATRIX:
        with pytest.raises(
            EngineError, match=r"\(ERROR: this quantization requires an importance matrix! - offending tensor: "
        ):
            bindings.quantize(wide, again, file_type)
        with pytest.raises(UsageError, match=f"^{file_type} needs an importance matrix") as caught:
            quantize_file(wide, target, file_type)
        assert "`imatrix`" in caught.value.hint
        assert not list(tmp_path.iterdir())
        return
    bindings.quantize(wide, again, file_type)
    report = quantize_file(wide, target, file_type)
    assert target.read_bytes() == again.read_bytes()
    assert report.fallbacks == ()
    assert read_header(target).quant == file_type


@pytest.mark.slow
@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_every_type_is_written_with_an_importance_matrix(wide: Path, tmp_path: Path, file_type: str) -> None:
    target = tmp_path / "x.gguf"
    report = quantize_file(wide, target, file_type, imatrix=importances(read_header(wide)))
    header = read_header(target)
    check_runnable(header)
    assert header.quant == report.file_type == file_type
    assert report.fallbacks == ()
    assert report.size_bytes == target.stat().st_size
    counted = {
        kind: (len(group := [t for t in header.tensors if t.type == kind]), sum(t.n_bytes for t in group))
        for kind in {t.type for t in header.tensors}
    }
    assert report.types == counted
    assert report.bits_per_weight == pytest.approx(8 * sum(len(d) for d in data(target).values()) / header.n_params)


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("source_type", FLOATS)
def test_the_weights_are_those_the_gguf_package_computes(
    tiny_gguf: Write, tmp_path: Path, file_type: str, source_type: str
) -> None:
    tensors = weights(96, 160, dtype=FLOATS[source_type])
    source = tiny_gguf(tmp_path / "source.gguf", n_tokens=N_TOKENS, keys=keys(96, 160), tensors=tensors)
    report = quantize_file(source, tmp_path / "target.gguf", file_type)
    types = {tensor.name: tensor.type for tensor in read_header(tmp_path / "target.gguf").tensors}
    assert {types["blk.1.attn_q.weight"], types["output_norm.weight"]} == {file_type, "F32"}
    for name, raw in data(tmp_path / "target.gguf").items():
        expected = gguf.quants.quantize(tensors[name].astype(np.float32), KIND[types[name]])
        assert raw == expected.tobytes(), name
    assert set(report.types) == set(types.values())


def test_importance_changes_what_is_rounded_away(wide: Path, tmp_path: Path) -> None:
    """Columns that weigh a thousand times more must come out nearer to the original."""
    heavy = np.where(np.arange(256) % 8 == 0, 1000, 1).astype(np.float32)
    name = "blk.0.attn_q.weight"
    quantize_file(wide, tmp_path / "with.gguf", "Q4_0", imatrix={name: heavy})
    quantize_file(wide, tmp_path / "without.gguf", "Q4_0")
    original = np.frombuffer(data(wide)[name], np.float32).reshape(256, 256)

    def error(path: Path) -> float:
        rows = np.frombuffer(data(path)[name], np.uint8).reshape(256, -1)
        values = gguf.quants.dequantize(rows, KIND["Q4_0"])
        return float(np.square(values - original)[:, heavy > 1].mean())

    assert error(tmp_path / "with.gguf") < 0.8 * error(tmp_path / "without.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["Q8_0", "Q4_K_M", "IQ4_NL", "IQ2_XXS"])
def test_neither_threads_nor_buffers_change_a_byte(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_type: str
) -> None:
    imatrix = importances(read_header(wide))
    made = []
    for n_threads, n_bytes in itertools.product((1, 2, 3), (bindings._QUANTIZER_BUFFER_BYTES, 10_000)):
        monkeypatch.setattr(bindings, "_QUANTIZER_BUFFER_BYTES", n_bytes)
        quantize_file(wide, tmp_path / "x.gguf", file_type, imatrix=imatrix, n_threads=n_threads)
        made.append((tmp_path / "x.gguf").read_bytes())
    assert len(made) == 6
    assert set(made) == {made[0]}


def test_what_has_its_type_already_is_copied(wide: Path, tmp_path: Path) -> None:
    quantize_file(wide, tmp_path / "a.gguf", "Q4_K_M")
    quantize_file(tmp_path / "a.gguf", tmp_path / "b.gguf", "Q4_K_M")
    assert data(tmp_path / "a.gguf") == data(tmp_path / "b.gguf")
    quantize_file(wide, tmp_path / "c.gguf", "F32")
    assert data(tmp_path / "c.gguf") == data(wide)


def test_a_file_may_take_its_own_place(wide: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(wide.read_bytes())
    quantize_file(path, path, "Q4_0")
    quantize_file(wide, tmp_path / "other.gguf", "Q4_0")
    assert path.read_bytes() == (tmp_path / "other.gguf").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("file_type", sorted(FILE_TYPES.keys() - {"F32", "F16", "BF16"}))
def test_every_tensor_whose_rows_do_not_fit_is_reported(odd: Path, tmp_path: Path, file_type: str) -> None:
    report = quantize_file(odd, tmp_path / "x.gguf", file_type, imatrix=importances(read_header(odd)))
    tensors = {tensor.name: tensor for tensor in read_header(tmp_path / "x.gguf").tensors}
    found = {fallback.tensor: fallback for fallback in report.fallbacks}
    for name, fallback in found.items():
        assert (fallback.got, fallback.row_length) == (tensors[name].type, tensors[name].shape[0])
        assert fallback.reason == "row length 96 is not a multiple of 256"
    narrow = {t.name for t in tensors.values() if len(t.shape) == 2 and t.shape[0] == 96}
    if file_type[-1] in "01" or file_type == "IQ4_NL":  # blocks of 32, but the output matrix may get Q6_K
        assert set(found) <= narrow
        assert {"output.weight"} >= {n for n in found if not n.endswith("attn_v.weight")}
    else:
        assert set(found) == narrow


def test_a_mixture_names_what_it_asked_for(odd: Path, tmp_path: Path) -> None:
    report = quantize_file(odd, tmp_path / "x.gguf", "Q4_K_M")
    wanted = {fallback.tensor: fallback.wanted for fallback in report.fallbacks}
    assert wanted["blk.0.attn_q.weight"] == "Q4_K"
    assert wanted["blk.1.attn_v.weight"] == "Q6_K"  # the mixture's choice for the last layers
    for fallback in report.fallbacks:
        if fallback.tensor != "output.weight":
            assert fallback.got == SMALLER[fallback.wanted]
    types = {t.name: t.type for t in read_header(tmp_path / "x.gguf").tensors}
    assert types["blk.1.ffn_down.weight"] == "Q6_K"  # more bits than required is not a fallback
    assert "blk.1.ffn_down.weight" not in wanted


def test_rows_that_fit_no_block_stay_halves(tiny_gguf: Write, tmp_path: Path) -> None:
    source = tiny_gguf(tmp_path / "s.gguf", n_tokens=N_TOKENS, keys=keys(40, 72), tensors=weights(40, 72))
    report = quantize_file(source, tmp_path / "t.gguf", "Q4_0")
    assert {fallback.got for fallback in report.fallbacks} == {"F16"}
    assert "row length 72 is not a multiple of 32" in {fallback.reason for fallback in report.fallbacks}
    assert len(report.fallbacks) == len(weights(40, 72)) - 5  # all but the norms


def test_progress_counts_tensors(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_module, "_POLL_S", 0.001)
    reported: list[tuple[int, int]] = []
    quantize_file(wide, tmp_path / "x.gguf", "IQ4_NL", n_threads=1, on_progress=lambda *p: reported.append(p))
    n = len(read_header(wide).tensors)
    assert len(reported) > 2
    assert reported == sorted(reported)
    assert reported[-1] == (n, n)
    assert {total for _, total in reported} == {n}


def test_an_interrupt_leaves_nothing(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_module, "_POLL_S", 0.001)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_file(wide, tmp_path / "x.gguf", "IQ4_NL", n_threads=1, on_progress=interrupt)
    for thread in threading.enumerate():
        if thread.name == "quantizer":
            thread.join()
    assert not list(tmp_path.iterdir())


def test_the_log_stays_quiet(odd: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """181 warnings of llama.cpp about rows that do not fit would hide what matters."""
    quantize_file(odd, tmp_path / "x.gguf", "Q4_K_M")
    assert [record.message for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_matrix_of_another_model_is_refused_with_all_that_is_wrong(wide: Path, tmp_path: Path) -> None:
    imatrix = importances(read_header(wide))
    good = imatrix.pop("blk.0.attn_q.weight")
    imatrix |= {
        "blk.9.attn_q.weight": good,
        "blk.0.attn_k.weight": good[:32],
        "blk.0.attn_v.weight": np.where(np.arange(256) == 7, np.nan, good),
        "blk.0.ffn_up.weight": -good,
        "output_norm.weight": good,
    }
    with pytest.raises(UsageError) as caught:
        quantize_file(wide, tmp_path / "x.gguf", "IQ2_XS", imatrix=imatrix)
    message = caught.value.message
    for part in (
        "blk.9.attn_q.weight is not a matrix",
        "blk.0.attn_k.weight has values of shape (32,), expected (256,)",
        "blk.0.attn_v.weight has values that are negative or not finite",
        "output_norm.weight is not a matrix",
        "and 1 more",  # blk.0.attn_q.weight is missing
    ):
        assert part in message
    assert not list(tmp_path.iterdir())


def test_an_incomplete_matrix_is_refused_where_llama_cpp_would_stop(wide: Path, tmp_path: Path) -> None:
    imatrix = importances(read_header(wide))
    for name in ("token_embd.weight", "blk.0.ffn_down.weight"):
        del imatrix[name]
    with pytest.raises(UsageError, match=r"blk\.0\.ffn_down\.weight is missing$"):
        quantize_file(wide, tmp_path / "x.gguf", "IQ2_XXS", imatrix=imatrix)
    del imatrix["blk.0.attn_q.weight"]
    assert quantize_file(wide, tmp_path / "x.gguf", "Q4_K_M", imatrix=imatrix).file_type == "Q4_K_M"


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["Q4_0", "Q6_K", "Q3_K_S", "IQ4_NL", "IQ2_XXS"])
def test_columns_that_were_never_used_keep_their_weights(wide: Path, tmp_path: Path, file_type: str) -> None:
    """llama.cpp makes zeros of a block that weighs nothing; another prompt may use it."""
    unused = slice(64, 128)
    imatrix = importances(read_header(wide))
    for values in imatrix.values():
        values[unused] = 0
    quantize_file(wide, tmp_path / "x.gguf", file_type, imatrix=imatrix)
    name = "blk.0.attn_q.weight"
    kind = next(t.type for t in read_header(tmp_path / "x.gguf").tensors if t.name == name)
    rows = np.frombuffer(data(tmp_path / "x.gguf")[name], np.uint8).reshape(256, -1)
    original = np.frombuffer(data(wide)[name], np.float32).reshape(256, 256)
    errors = np.square(gguf.quants.dequantize(rows, KIND[kind]) - original)
    assert errors[:, unused].mean() < 1.2 * errors.mean()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_an_error(tiny_gguf: Write, tmp_path: Path, value: float) -> None:
    tensors = weights(96, 160)
    tensors["blk.1.ffn_up.weight"][5, 6] = value
    source = tiny_gguf(tmp_path / "source.gguf", n_tokens=N_TOKENS, keys=keys(96, 160), tensors=tensors)
    with pytest.raises(EngineError, match=r"blk\.1\.ffn_up\.weight") as caught:
        quantize_file(source, tmp_path / "target.gguf", "Q4_0")
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_no_model_or_no_type_is_refused(wide: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(wide.read_bytes()[:-1])
    with pytest.raises(ModelInvalidError, match="damaged"):
        quantize_file(damaged, tmp_path / "x.gguf", "Q4_0")
    with pytest.raises(UsageError, match=r"unknown quantization 'q4_0'"):
        quantize_file(wide, tmp_path / "x.gguf", "q4_0")
    with pytest.raises(UsageError, match=r"cannot be written"):
        quantize_file(wide, damaged / "x.gguf", "Q4_0")
    assert list(tmp_path.iterdir()) == [damaged]


FAILING_WRITES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static long written;

static int fails(int fd, size_t n) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    if (!strstr(name, ".part")) return 0;
    if (written + (long)n > atol(getenv("FAIL_AFTER"))) { errno = atoi(getenv("FAIL_WITH")); return 1; }
    written += n;
    return 0;
}

ssize_t write(int fd, const void *data, size_t n) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return fails(fd, n) ? -1 : real(fd, data, n);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    size_t n = 0;
    for (int i = 0; i < count; i++) n += parts[i].iov_len;
    return fails(fd, n) ? -1 : real(fd, parts, count);
}
"""

CHILD = """
import sys
from pathlib import Path
from genrec_edge.convert.quantization.quantize import quantize_file
from genrec_edge.errors import GenRecError
try:
    quantize_file(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], n_threads=1)
except GenRecError as e:
    print(type(e).__name__, e.message)
else:
    print("written")
"""


def in_child(*arguments: object, before: str = "", **environment: str) -> str:
    """Quantize in a process of its own, `before` done first; return what it says, which is one line."""
    command = [sys.executable, "-c", before + CHILD, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    (line,) = done.stdout.splitlines()
    return line


@pytest.fixture(scope="session")
def failing_writes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets writes to files named ".part" fail, for Python and llama.cpp alike."""
    folder = tmp_path_factory.mktemp("failing")
    (folder / "failing.c").write_text(FAILING_WRITES)
    built = folder / "failing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", built, folder / "failing.c", "-ldl"], check=True)
    return built


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999, 1.0])
@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, "DiskFullError no room to write"), (errno.EIO, "DiskError the disk of {target} failed")],
)
def test_a_disk_that_fails_is_named_and_nothing_stays(
    failing_writes: Path, wide: Path, tmp_path: Path, share: float, code: int, expected: str
) -> None:
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    source.write_bytes(wide.read_bytes())
    quantize_file(wide, tmp_path / "whole.gguf", "Q4_K_M")
    limit = int(share * (tmp_path / "whole.gguf").stat().st_size)
    (tmp_path / "whole.gguf").unlink()
    reported = in_child(
        source, target, "Q4_K_M", LD_PRELOAD=str(failing_writes), FAIL_AFTER=str(limit), FAIL_WITH=str(code)
    )
    assert reported.startswith(expected.format(target=target))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts anonymous memory on Linux")
def test_a_large_tensor_does_not_take_large_buffers(tiny_gguf: Write, tmp_path: Path) -> None:
    """65 million weights take 330 MB as float32 and Q8_0; the limit is 320 MiB for the whole process."""
    source, n_rows = tmp_path / "source.gguf", 32_000
    embedding = {"token_embd.weight": np.broadcast_to(np.float16(0), (n_rows, 2048))}
    tensors = weights(2048, 32, dtype=np.float16, n_layers=1) | embedding
    tiny_gguf(source, n_tokens=n_rows, keys=keys(2048, 32, n_layers=1), tensors=tensors)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({320 << 20}, {320 << 20}))"
    assert in_child(source, tmp_path / "x.gguf", "Q8_0", before=limit) == "written"
    unlimited = f"{limit}; from genrec_edge.engine import bindings; bindings._QUANTIZER_BUFFER_BYTES = 8 << 30"
    assert "std::bad_alloc" in in_child(source, tmp_path / "x.gguf", "Q8_0", before=unlimited)
