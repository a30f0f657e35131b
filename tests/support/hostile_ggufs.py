"""GGUF files of our own making that llama.cpp must never see, among many that it must run: made, and laid out anew.

`made` draws a model of random sizes with what such files may have beside (biases, scales, factors, experts, one matrix
for queries, keys and values), any type in any place, odd vocabularies and metadata, and sizes that take much memory.
`relaid` takes a sound file to pieces and changes how its tensors lie: types, shapes, names, offsets, order, one twice,
one less. Both are drawn from a seed alone, and mostly zeros: what a weight is does not matter here.
"""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass, field, replace
from typing import Any

from genrec_edge.gguf.types import GGML_TYPES
from tests.support.gguf_bytes import text
from tests.support.gguf_files import byte_vocabulary

TYPE_NUMBERS = {kind.name: number for number, kind in GGML_TYPES.items()}
_VECTOR_TYPES = ("F16", "BF16", "F64", "I32", "Q8_0", "Q4_0", "I8")
_MATRIX_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4")
_ALIGNMENT = 32


@dataclass
class Laid:
    """A tensor: name, shape in ggml's order, type, bytes, and the offset if that is not the next one."""

    name: str
    shape: tuple[int, ...]
    kind: str
    data: bytes
    offset: int | None = None


@dataclass
class File:
    """A GGUF in pieces. `keys` holds values as `written` takes them: bool, int, float, str, or a list of one kind."""

    keys: dict[str, Any]
    tensors: list[Laid]
    n_tensors: int | None = None

    def written(self) -> bytes:
        """Return the file."""
        head = b"GGUF" + struct.pack("<IQQ", 3, self.n_tensors or len(self.tensors), len(self.keys))
        head += b"".join(text(key.encode()) + _value(value) for key, value in self.keys.items())
        data = b""
        for tensor in self.tensors:
            data += bytes(-len(data) % _ALIGNMENT)
            offset = len(data) if tensor.offset is None else tensor.offset
            sides = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            head += text(tensor.name.encode()) + sides + struct.pack("<IQ", TYPE_NUMBERS[tensor.kind], offset)
            data += tensor.data
        return head + bytes(-len(head) % _ALIGNMENT) + data


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value.encode())
    kind, elements = 8, b"".join(text(v if isinstance(v, bytes) else str(v).encode()) for v in value)
    if value and isinstance(value[0], int):
        kind, elements = 5, struct.pack(f"<{len(value)}i", *value)
    elif value and isinstance(value[0], float):
        kind, elements = 6, struct.pack(f"<{len(value)}f", *value)
    return struct.pack("<IIQ", 9, kind, len(value)) + elements


@dataclass
class Sizes:
    """The sizes of a small model, and what it has beside."""

    arch: str = "llama"
    n_embd: int = 32
    n_ff: int = 64
    n_layers: int = 2
    n_heads: int = 4
    n_heads_kv: int = 2
    head: int = 8
    n_ctx: int = 512
    n_experts: int = 0
    beside: frozenset[str] = field(default_factory=frozenset)


def sound(sizes: Sizes, rng: random.Random, kind: str = "F32") -> File:
    """Return a file that llama.cpp runs."""
    tokens, merges = byte_vocabulary()
    s, arch = sizes, sizes.arch
    keys: dict[str, Any] = {
        "general.architecture": arch,
        f"{arch}.context_length": s.n_ctx,
        f"{arch}.embedding_length": s.n_embd,
        f"{arch}.block_count": s.n_layers,
        f"{arch}.feed_forward_length": s.n_ff,
        f"{arch}.attention.head_count": s.n_heads,
        f"{arch}.attention.head_count_kv": s.n_heads_kv,
        f"{arch}.attention.key_length": s.head,
        f"{arch}.attention.value_length": s.head,
        f"{arch}.rope.dimension_count": s.head,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token == "<|end|>" else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
        "tokenizer.ggml.add_bos_token": False,
    }
    if s.n_experts:
        keys |= {f"{arch}.expert_count": s.n_experts, f"{arch}.expert_used_count": min(2, s.n_experts)}
    if "rope_long" in s.beside:
        keys[f"{arch}.rope.scaling.type"] = "longrope"

    def matrix(name: str, *shape: int) -> Laid:
        return tensor(name, shape, kind if shape[0] % 32 == 0 else "F32", rng)

    def vector(name: str, n: int) -> Laid:
        return tensor(name, (n,), "F32", rng)

    tensors = [matrix("token_embd.weight", s.n_embd, len(tokens)), vector("output_norm.weight", s.n_embd)]
    if "output" in s.beside:
        tensors.append(matrix("output.weight", s.n_embd, len(tokens)))
    if "output_bias" in s.beside and arch == "qwen2":
        tensors.append(vector("output.bias", len(tokens)))
    if "rope" in s.beside and arch == "llama":
        names = ("rope_factors_long", "rope_factors_short") if "rope_long" in s.beside else ("rope_freqs",)
        tensors += [vector(f"{name}.weight", s.head // 2) for name in names]
    for layer in range(s.n_layers):
        tensors += _layer(f"blk.{layer}.", s, matrix, vector)
    return File(keys, tensors)


def _layer(blk: str, s: Sizes, matrix: Any, vector: Any) -> list[Laid]:  # noqa: C901
    q, kv = s.n_heads * s.head, s.n_heads_kv * s.head
    made = [vector(f"{blk}attn_norm.weight", s.n_embd), vector(f"{blk}ffn_norm.weight", s.n_embd)]
    made.append(matrix(f"{blk}attn_output.weight", q, s.n_embd))
    rows = {"q": q, "k": kv, "v": kv}
    if "fused" in s.beside:
        made.append(matrix(f"{blk}attn_qkv.weight", s.n_embd, q + 2 * kv))
    else:
        made += [matrix(f"{blk}attn_{name}.weight", s.n_embd, n) for name, n in rows.items()]
    if "biases" in s.beside:
        if "fused" in s.beside:
            made.append(vector(f"{blk}attn_qkv.bias", q + 2 * kv))
        else:
            made += [vector(f"{blk}attn_{name}.bias", n) for name, n in rows.items()]
        if s.arch == "llama":
            made.append(vector(f"{blk}attn_output.bias", s.n_embd))
            if not s.n_experts:
                made += [
                    vector(f"{blk}ffn_{n}.bias", m) for n, m in (("gate", s.n_ff), ("up", s.n_ff), ("down", s.n_embd))
                ]
    if s.arch == "qwen3":
        made += [vector(f"{blk}attn_{name}_norm.weight", s.head) for name in "qk"]
    sides = {"gate": (s.n_embd, s.n_ff), "up": (s.n_embd, s.n_ff), "down": (s.n_ff, s.n_embd)}
    more: tuple[int, ...] = (s.n_experts,) if s.n_experts else ()
    end = "_exps" if s.n_experts else ""
    made += [matrix(f"{blk}ffn_{name}{end}.weight", *shape, *more) for name, shape in sides.items()]
    if s.n_experts:
        made.append(matrix(f"{blk}ffn_gate_inp.weight", s.n_embd, s.n_experts))
    if "scales" in s.beside:
        made.append(vector(f"{blk}attn_output.scale", 1))
        if s.arch != "qwen2":
            made += [vector(f"{blk}ffn_{name}{end}.scale", s.n_experts or 1) for name in sides]
        if "fused" not in s.beside:
            made += [vector(f"{blk}attn_{name}.scale", 1) for name in rows]
    return made


def tensor(name: str, shape: tuple[int, ...], kind: str, rng: random.Random) -> Laid:
    """Return a tensor of a shape and type with as many bytes as it needs: small numbers if F32, else mostly zeros."""
    block = GGML_TYPES[TYPE_NUMBERS[kind]]
    n = math.prod(shape)
    n_bytes = n // block.block_elements * block.block_bytes
    if kind == "F32":
        few = struct.pack("<16f", *(rng.uniform(-1, 1) for _ in range(16)))
        return Laid(name, shape, kind, (few * (n_bytes // 64 + 1))[:n_bytes])
    return Laid(name, shape, kind, bytes(n_bytes))


def made(seed: int) -> bytes:
    """Return a made file: one of four is sound, the others have one or two things that are not or that take much."""
    rng = random.Random(seed)
    sizes = _drawn(rng)
    if rng.random() < 0.15:
        sizes = _wide(sizes, rng)
    file = sound(sizes, rng, rng.choice(_MATRIX_TYPES))
    for _ in range(rng.choice([0, 1, 1, 2])):
        rng.choice([_vector_type, _vector_type, _matrix_type, _metadata, _metadata, _vocabulary, _beside])(file, rng)
    return file.written()


def _drawn(rng: random.Random) -> Sizes:
    arch = rng.choice(["llama", "llama", "qwen2", "qwen3"])
    heads, head = rng.choice([1, 2, 4, 8]), rng.choice([2, 8, 16, 64])
    n_embd = heads * head if arch == "qwen2" or rng.random() < 0.7 else rng.choice([8, 32, 96])
    names = ["output", "output_bias", "rope", "rope_long", "fused", "biases", "scales"]
    return Sizes(
        arch=arch,
        n_embd=n_embd,
        n_ff=rng.choice([16, 32, 64, 160]),
        n_layers=rng.choice([1, 2, 5]),
        n_heads=heads,
        n_heads_kv=rng.choice([n for n in (1, 2, 4, 8) if heads % n == 0]),
        head=head,
        n_ctx=rng.choice([256, 512, 2048, 8192, 1 << 17]),
        n_experts=rng.choice([0, 0, 0, 2, 4]) if arch == "llama" else 0,
        beside=frozenset(name for name in names if rng.random() < 0.25),
    )


def _wide(sizes: Sizes, rng: random.Random) -> Sizes:
    """Return sizes that take much memory although the file is small."""
    match rng.randrange(4):
        case 0:
            return replace(sizes, head=1 << rng.randrange(9, 13), n_embd=8, n_heads=1, n_heads_kv=1, arch="llama")
        case 1:
            return replace(sizes, n_ff=1 << rng.randrange(12, 16), n_embd=8, n_heads=1, n_heads_kv=1, head=8)
        case 2:
            return replace(sizes, n_heads=256, n_heads_kv=256, head=8, n_embd=8, arch="llama", n_layers=2)
        case _:
            return replace(
                sizes, n_layers=rng.choice([100, 512, 513]), n_embd=8, n_heads=1, n_heads_kv=1, head=8, n_ff=16
            )


def _vector_type(file: File, rng: random.Random) -> None:
    """Give a norm, bias, scale or factor another type; some types only fit whole blocks."""
    vectors = [i for i, t in enumerate(file.tensors) if len(t.shape) == 1]
    at = rng.choice(vectors)
    old = file.tensors[at]
    kinds = [k for k in _VECTOR_TYPES if old.shape[0] % GGML_TYPES[TYPE_NUMBERS[k]].block_elements == 0]
    alike = [i for i in vectors if rng.random() < 0.5 and file.tensors[i].shape == old.shape]
    kind = rng.choice(kinds)
    for i in {at, *alike}:
        file.tensors[i] = tensor(file.tensors[i].name, old.shape, kind, rng)


def _matrix_type(file: File, rng: random.Random) -> None:
    at = rng.choice([i for i, t in enumerate(file.tensors) if len(t.shape) > 1])
    old = file.tensors[at]
    kinds = [kind.name for kind in GGML_TYPES.values() if old.shape[0] % kind.block_elements == 0]
    file.tensors[at] = tensor(old.name, old.shape, rng.choice(kinds), rng)


def _metadata(file: File, rng: random.Random) -> None:
    arch = file.keys["general.architecture"]
    odd: list[tuple[str, list[Any]]] = [
        ("attention.causal", [False, True, 0, "no"]),
        ("pooling_type", [0, 1, 2, 3, 4, 99]),
        ("embedding_length_out", [1, 8, 4096]),
        ("rope.freq_base", [0.0, -1.0, math.nan, math.inf, 1e6]),
        ("rope.scaling.factor", [0.0, math.nan, -4.0, 8.0]),
        ("rope.scaling.type", ["none", "linear", "yarn", "longrope", "dynamic", ""]),
        ("rope.scaling.original_context_length", [0, 1, 1 << 31]),
        ("rope.dimension_count", [0, 2, 4, 7]),
        ("attention.head_count", [0, 1, 3, 5, 64]),
        ("attention.head_count_kv", [0, 1, 3, 5, 64]),
        ("attention.key_length", [2, 4, 7, 16, 1 << 20]),
        ("attention.value_length", [2, 4, 7, 16, 1 << 20]),
        ("attention.layer_norm_rms_epsilon", [0.0, 1.0, math.nan, 1e-6]),
        ("block_count", [0, 1, 3, 512, 1 << 31]),
        ("context_length", [0, 1, 8, 255, 256, 1 << 31]),
        ("feed_forward_length", [0, 1, 32, 1 << 31]),
        ("embedding_length", [0, 1, 16, 64]),
        ("expert_count", [1, 2, 1024, 1025]),
        ("expert_used_count", [1, 2, 7]),
        ("expert_group_count", [1, 2]),
        ("nextn_predict_layers", [1, 2]),
        ("attention.sliding_window", [1, 16]),
        ("vocab_size", [0, 7, 1 << 31]),
    ]
    key, values = rng.choice(odd)
    file.keys[f"{arch}.{key}"] = rng.choice(values)


def _vocabulary(file: File, rng: random.Random) -> None:
    tokens = [t if isinstance(t, bytes) else t.encode() for t in file.keys["tokenizer.ggml.tokens"]]
    a, b = rng.sample(range(len(tokens)), 2)
    match rng.randrange(8):
        case 0:
            tokens[a], tokens[b] = b"", b"[EMPTY_%d]" % a
        case 1:
            tokens[a] = tokens[b]
        case 2:
            tokens[a] = tokens[b] + b"\0more"
        case 3:
            tokens[a], tokens[b] = b"\0", b"[EMPTY_%d]" % a
        case 4:
            tokens[a] = b"\xff\xfe"
        case 5:
            file.keys["tokenizer.ggml.token_type"][a] = rng.choice([0, 2, 4, 5, 6, 7, -1])
        case 6:
            name = rng.choice(["bos", "eos", "unknown", "padding", "eot"])
            file.keys[f"tokenizer.ggml.{name}_token_id"] = rng.choice([0, 5, len(tokens), (1 << 32) - 1])
        case _:
            pieces = [b"<0x%02X>" % byte for byte in range(256)]
            tokens = pieces + [b"t%d" % i for i in range(256, len(tokens))]
            scores = [0.0] * len(tokens)
            if rng.random() < 0.5:
                scores[a], tokens[b] = rng.choice([(math.nan, b"x"), (0.0, b"<0x"), (0.0, b"\0")])
            file.keys |= {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": scores}
            file.keys["tokenizer.ggml.token_type"] = [6 if i < 256 else 1 for i in range(len(tokens))]
    file.keys["tokenizer.ggml.tokens"] = tokens


def _beside(file: File, rng: random.Random) -> None:
    """Add a tensor that some model of the kind may have, of any shape and type."""
    blk = "blk.0."
    name = rng.choice(
        [
            f"{blk}attn_q.bias",
            f"{blk}attn_output.bias",
            f"{blk}ffn_up.bias",
            f"{blk}ffn_up.scale",
            f"{blk}attn_v.input_scale",
            f"{blk}attn_q_norm.weight",
            f"{blk}attn_rot_embd",
            f"{blk}attn_qkv.weight",
            f"{blk}ffn_gate_inp.weight",
            f"{blk}ffn_gate_up_exps.weight",
            f"{blk}ffn_gate_shexp.weight",
            "rope_freqs.weight",
            "rope_factors_long.weight",
            "output.bias",
            "output.scale",
            "output_norm.bias",
            "cls.output.weight",
            "token_types.weight",
            "position_embd.weight",
            f"blk.{rng.choice([7, 511, 512, 4294967295])}.attn_norm.weight",
        ]
    )
    shape = rng.choice([t.shape for t in file.tensors] + [(1,), (2,), (4, 1, 1, 1)])
    if all(t.name != name for t in file.tensors):
        file.tensors.append(tensor(name, shape, "F32", rng))


BASES = (
    Sizes(),
    Sizes(arch="qwen2", beside=frozenset({"biases", "output", "output_bias"})),
    Sizes(arch="qwen3", head=16, beside=frozenset({"scales"})),
    Sizes(beside=frozenset({"biases", "scales", "rope", "fused"})),
    Sizes(n_experts=4, beside=frozenset({"output", "rope", "rope_long", "scales"})),
)


def relaid(seed: int) -> bytes:
    """Return a sound file whose tensors were laid out anew, in one to three steps."""
    rng = random.Random(seed)
    file = sound(BASES[seed % len(BASES)], rng, rng.choice(["F32", "F16", "Q8_0", "Q4_0"]))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _lay_anew(file, rng)
    return file.written()


def _lay_anew(file: File, rng: random.Random) -> None:  # noqa: C901, PLR0912
    tensors = file.tensors
    at, other = rng.randrange(len(tensors)), rng.randrange(len(tensors))
    old = tensors[at]
    match rng.randrange(13):
        case 0:
            _matrix_type(file, rng)
        case 1:
            _vector_type(file, rng)
        case 2:
            tensors[at] = tensor(old.name, tuple(rng.sample(old.shape, len(old.shape))), "F32", rng)
        case 3:
            shape = list(old.shape)
            side = rng.randrange(len(shape))
            shape[side] = max(1, rng.choice([shape[side] + 1, shape[side] - 1, shape[side] * 2, shape[side] // 2, 1]))
            tensors[at] = tensor(old.name, tuple(shape), "F32", rng)
        case 4:
            ones = (*old.shape, 1)[:4] if rng.random() < 0.7 else (1, *old.shape)[:4]
            tensors[at] = replace(old, shape=ones, kind="F32", data=tensor("", ones, "F32", rng).data)
        case 5:
            tensors[at], tensors[other] = replace(old, name=tensors[other].name), replace(tensors[other], name=old.name)
        case 6:
            stem = rng.choice([old.name.replace("blk.0", "blk.1"), old.name.replace("weight", "bias"), old.name[:-1]])
            tensors[at] = replace(old, name=rng.choice([stem, old.name + "x", old.name.upper(), "output.weight"]))
        case 7:
            if len(tensors) > 1:
                del tensors[at]
        case 8:
            tensors.insert(other, old)
        case 9:
            rng.shuffle(tensors)
        case 10:
            offset = sum(len(t.data) for t in tensors[:at])
            tensors[at] = replace(old, offset=max(0, offset + rng.choice([-64, -32, -1, 1, 32, 1 << 20, 1 << 62])))
        case 11:
            tensors[at] = replace(old, data=old.data[: rng.randrange(len(old.data) + 1)])
        case _:
            file.n_tensors = rng.choice([1, len(tensors) - 1, len(tensors) + 1])
