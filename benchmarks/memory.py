"""Memory of a recommender: weights, KV cache and the rest, for installed models and for the shapes of LLaMA-7B.

    python -m benchmarks.memory --out memory
    python -m benchmarks.memory --llama-7b FOLDER --out memory     (writes 4 GB into FOLDER, and removes them)

The plan is the size of the file, 2 * layers * KV width * context * 2 bytes for the cache, and 150 MB for all the rest.
The figure beside it is the peak of a process that opens the recommender and answers three requests. The 7B file has
random weights of type Q4_0 in the shapes of LLaMA-7B and the vocabulary of SmolLM2 (49,152 tokens; LLaMA has 32,000):
memory does not depend on what the numbers are. llama.cpp copies Q4_0 into another order for AVX2; that copy is private
memory, and the mapped file, which the peak counts too, need not stay resident beside it. "Private" is what the system
cannot take back while the recommender is open.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from matplotlib.figure import Figure

from benchmarks.setting import OTHERS, OURS, print_setting, print_table, setting, write
from genrec_edge.gguf.header import read_header
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.serving.opening import DEFAULT_CTX

REST_BYTES = 150_000_000
_SHAPES = {"embedding": 4096, "feed_forward": 11008, "blocks": 32, "heads": 32}
_Q4_0_BYTES = 18
_ANSWER = """
import json, re, sys, time
from pathlib import Path
from genrec_edge import Interaction, Recommender
started = time.perf_counter()
with Recommender.open(sys.argv[1], n_threads=2, prior_kind="none") as r:
    opened = time.perf_counter() - started
    rows = r.catalog.filter("awards IS NOT NULL").tolist()
    for n in range(3):
        history = [Interaction(id=item.id) for item in r.catalog.items(rows[20 * n : 20 * n + int(sys.argv[4])])]
        started = time.perf_counter()
        tokens = r.recommend(history, k=int(sys.argv[2]), decode=sys.argv[3]).timings.evaluated_tokens
        last = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()
    found = {name: int(re.search(name + r":\\s+(\\d+)", status)[1]) * 1024 for name in ("VmHWM", "RssAnon", "RssFile")}
print(json.dumps({"peak_bytes": found["VmHWM"], "anon_bytes": found["RssAnon"], "file_bytes": found["RssFile"],
                  "open_s": opened, "last_request_s": last, "tokens": tokens}))
"""


def plan(path: Path) -> dict[str, int]:
    """Return the bytes that a recommender of a model file is expected to need at most."""
    metadata = read_header(path).metadata
    arch = str(metadata["general.architecture"])

    def number(name: str) -> int:
        value = metadata[f"{arch}.{name}"]
        assert isinstance(value, int)
        return value

    heads, kv_heads = number("attention.head_count"), number("attention.head_count_kv")
    kv_width = number("embedding_length") // heads * kv_heads
    ctx = min(DEFAULT_CTX, number("context_length"))
    cache = 2 * 2 * number("block_count") * kv_width * ctx
    return {"weights": path.stat().st_size, "cache": cache, "rest": REST_BYTES}


def measured(path: Path, *, k: int = 10, decode: str = "exact", length: int = 20) -> dict[str, float]:
    """Return what a fresh process needed for three requests."""
    argv = [sys.executable, "-c", _ANSWER, str(path), str(k), decode, str(length)]
    found: dict[str, float] = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return found


def write_llama_7b(path: Path, donor: Path, seed: int = 0) -> None:
    """Write a GGUF of LLaMA-7B's shapes with random Q4_0 weights and the tokenizer of another file."""
    rng = np.random.default_rng(seed)
    width, hidden, n_blocks = _SHAPES["embedding"], _SHAPES["feed_forward"], _SHAPES["blocks"]
    reader, writer = gguf.GGUFReader(donor), gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("tokenizer.") and "chat_template" not in name:
            writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if field.types[1:] else None)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_block_count(n_blocks)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(_SHAPES["heads"])
    writer.add_head_count_kv(_SHAPES["heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(2)
    n_vocab = len(reader.fields["tokenizer.ggml.tokens"].contents())

    def matrix(name: str, rows: int, columns: int) -> None:
        blocks = np.empty((rows, columns // 32, _Q4_0_BYTES), np.uint8)
        blocks[..., 2:] = rng.integers(0, 256, (1, columns // 32, _Q4_0_BYTES - 2), np.uint8)
        blocks[..., :2] = np.frombuffer(np.float16(0.004).tobytes(), np.uint8)
        blocks[..., 2] = rng.integers(0, 256, (rows, columns // 32), np.uint8)
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    matrix("token_embd.weight", n_vocab, width)
    matrix("output.weight", n_vocab, width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for n in range(n_blocks):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{n}.{name}.weight", width, width)
        for name, shape in (("ffn_gate", (hidden, width)), ("ffn_up", (hidden, width)), ("ffn_down", (width, hidden))):
            matrix(f"blk.{n}.{name}.weight", *shape)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{n}.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def picture(models: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """Draw plan and peak of each model."""
    figure = Figure(figsize=(8, 1.2 + 0.9 * len(models)), layout="constrained")
    for axes, (name, found) in zip(np.atleast_1d(figure.subplots(len(models), 1)), models.items(), strict=True):
        left = 0.0
        for part, shade in (("weights", "#5c6b73"), ("cache", OTHERS), ("rest", "#d5dade")):
            axes.barh("plan", found["plan"][part] / 1e6, left=left, color=shade, label=part)
            left += found["plan"][part] / 1e6
        axes.barh("measured peak", found["measured"]["peak_bytes"] / 1e6, color=OURS)
        axes.set_title(name, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7, ncols=3, loc="lower right")
        axes.set_xlabel("MB")
    return figure


def main() -> None:
    """Print a row for each model, and write figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["genrec-films", "smollm2-135m"])
    parser.add_argument("--llama-7b", type=Path, metavar="FOLDER", help="also LLaMA-7B's shapes, written there first")
    parser.add_argument("--out", type=Path, help="a folder for memory.json and memory.png")
    options = parser.parse_args()
    record: dict[str, Any] = {**setting(), "models": {}}
    print_setting(record)
    for name in options.models:
        path = resolve_model(name, ModelStore()).path
        record["models"][path.name] = {"plan": plan(path), "measured": measured(path)}
    if options.llama_7b is not None:
        path = options.llama_7b / "llama-7b-random-Q4_0.gguf"
        write_llama_7b(path, ModelStore().get("smollm2-135m")[0])
        try:
            record["models"][path.name] = {"plan": plan(path), "measured": measured(path, k=1, decode="beam", length=2)}
        finally:
            path.unlink()
    rows = []
    for name, found in record["models"].items():
        parts, needed = found["plan"], found["measured"]
        peak, total = needed["peak_bytes"], sum(parts.values())
        rows.append((name, *(f"{parts[part] / 1e6:,.0f} MB" for part in ("weights", "cache", "rest")),
                     f"{total / 1e6:,.0f} MB", f"{peak / 1e6:,.0f} MB", f"{peak / total:.2f}",
                     f"{needed['anon_bytes'] / 1e6:,.0f} MB"))  # fmt: skip
    print_table(("", "weights", "KV cache", "rest", "plan", "peak", "of plan", "private"), rows)
    if options.out is not None:
        write(options.out, "memory", record, picture(record["models"]))


if __name__ == "__main__":
    main()
