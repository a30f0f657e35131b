"""Pre-tokenizers and normalizers of a `tokenizer.json`, and llama.cpp's names for them.

The same tables serve reading and writing. A section is recognised by its content, never by a model name; sections that
are not in the tables are refused.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

from genrec_edge.convert.tokenizer.types import SPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Source: src/llama-vocab.cpp, llm_tokenizer_bpe (llama.cpp 0c1e57098), the comments "original regex".
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_STEPS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "llama-bpe": (("Split", _CONTRACTIONS + r"\p{N}{1,3}" + _REST), ("ByteLevel", False)),
    "qwen2": (("Split", _CONTRACTIONS + r"\p{N}" + _REST), ("ByteLevel", False)),
    "smollm": (("Digits",), ("ByteLevel", True)),
    "gpt-2": (("ByteLevel", True),),
}
"""The steps of each pre-tokenizer, by llama.cpp's name: a regular expression or single digits, then bytes, with or
without GPT-2's own regular expression."""

_IGNORES_MERGES = frozenset({"llama-bpe"})
"""Pre-tokenizers whose models set `ignore_merges`: a word that is a token is used without applying merges."""


def detect_pre(document: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the pre-tokenizer in a `tokenizer.json` with byte-level BPE.

    Raises:
        ValueError: llama.cpp does not have this pre-tokenizer, or the normalizer; the message says what was found.
    """
    steps = tuple(_step(part) for part in _parts(document.get("pre_tokenizer"), "pretokenizers"))
    name = next((name for name, known in _STEPS.items() if known == steps), None)
    if name is None:
        found = reprlib.repr(steps) if steps else "missing"
        raise ValueError(f"its pre_tokenizer is {found}, not that of {', '.join(_STEPS)}")
    if document["model"].get("ignore_merges", False) is not (name in _IGNORES_MERGES):
        raise ValueError(f"its ignore_merges is not that of {name}")
    # llama.cpp does not apply NFC; titles are in that form already.
    others = [part for part in _parts(document.get("normalizer"), "normalizers") if part != {"type": "NFC"}]
    if others:
        raise ValueError(f"its normalizer is {reprlib.repr(others)}, and llama.cpp does not normalise")
    return name


def bpe_sections(pre: str) -> dict[str, Any]:
    """Return the sections of a `tokenizer.json`, with its model, for the pre-tokenizer `pre`.

    Raises:
        ValueError: `pre` is not in the tables.
    """
    if pre not in _STEPS:
        raise ValueError(f"the pre-tokenizer {pre!r} is not one of {', '.join(_STEPS)}")
    steps = [_section(step) for step in _STEPS[pre]]
    return {
        "normalizer": None,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _model(ignore_merges=pre in _IGNORES_MERGES),
    }


def spm_adds_space(document: Mapping[str, Any]) -> bool:
    """Return whether a `tokenizer.json` in the style of SentencePiece puts a space before a text.

    Raises:
        ValueError: it treats spaces differently from SentencePiece in LLaMA.
    """
    prepend, replace = {"type": "Prepend", "prepend": SPACE}, _replace(" ", SPACE)
    normalizer = _parts(document.get("normalizer"), "normalizers")
    steps = _parts(document.get("pre_tokenizer"), "pretokenizers")
    if not steps and normalizer in ([prepend, replace], [replace]):
        return prepend in normalizer
    if not normalizer and len(steps) == 1 and steps[0].get("type") == "Metaspace":
        step = steps[0]
        scheme = step.get("prepend_scheme", "always")
        if step.get("split", True) is False and step.get("replacement") == SPACE:
            return bool(scheme != "never" and step.get("add_prefix_space", True))
    found = reprlib.repr([*normalizer, *steps])
    raise ValueError(f"its normalizer and pre_tokenizer are {found}, not those of LLaMA or Mistral")


def spm_sections(*, adds_space: bool, unknown: str | None) -> dict[str, Any]:
    """Return the sections of a `tokenizer.json` that tokenize text as SentencePiece in LLaMA does."""
    prepend = [{"type": "Prepend", "prepend": SPACE}] if adds_space else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_space else []
    decoders = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, _replace(" ", SPACE)]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {**_model(ignore_merges=False), "unk_token": unknown, "fuse_unk": True, "byte_fallback": True},
    }


def unsupported_settings(model: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of a BPE model that llama.cpp does not support."""
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name) not in (None, ""):
            yield f"its model has {name} {reprlib.repr(model[name])}"


def _model(*, ignore_merges: bool) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
    }


def _parts(section: Any, key: str) -> list[dict[str, Any]]:
    """Return the steps of a section of a `tokenizer.json`: none, one, or those of a sequence.

    Raises:
        ValueError: the section is not an object, or a sequence of other values.
    """
    if section is None:
        return []
    parts = section.get(key) if isinstance(section, dict) and section.get("type") == "Sequence" else [section]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"its {key} are {reprlib.repr(parts)}")
    return parts


def _step(part: Mapping[str, Any]) -> tuple[Any, ...]:
    match part:
        case {"type": "Split", "pattern": {"Regex": str(regex)}, "behavior": "Isolated", "invert": False}:
            return ("Split", regex)
        case {"type": "Digits", "individual_digits": True}:
            return ("Digits",)
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return ("ByteLevel", part.get("use_regex", True))
    return (dict(part),)


def _section(step: tuple[Any, ...]) -> dict[str, Any]:
    match step:
        case ("Split", regex):
            return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        case ("ByteLevel", use_regex):
            return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "Digits", "individual_digits": True}


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}
