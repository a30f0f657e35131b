"""Reads the small files beside a tokenizer: special tokens, tokens added around a text, and the chat template."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from genrec_edge.convert.tokenizer.types import SpecialToken

TEMPLATE_NAME = "chat_template.jinja"
HF_NAMES: Mapping[SpecialToken, str] = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad", "eot": "eot"}
"""Special tokens: their names in GGUF keys, and in the keys of the JSON files."""

_MAX_TEMPLATE_BYTES = 1 << 20


def special_ids(
    named: Mapping[str, Any],
    numbered: Iterable[Mapping[str, Any]],
    defaults: Mapping[str, int],
    ids: Mapping[bytes, int],
) -> dict[SpecialToken, int]:
    """Return the ids of special tokens.

    Args:
        named: the tokenizer's configuration, with tokens such as "eos_token".
        numbered: the model's configurations, with ids such as "eos_token_id", for tokens that `named` does not have.
        defaults: ids from the vocabulary itself, for tokens that neither has.
        ids: the id of each token.

    Raises:
        ValueError: a token is not in the vocabulary, or there is no end-of-sequence token.
    """
    special: dict[SpecialToken, int] = {}
    for name, hf_name in HF_NAMES.items():
        token = named.get(f"{hf_name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            if token.encode() not in ids:
                raise ValueError(f"its {hf_name}_token {reprlib.repr(token)} is not in the vocabulary")
            special[name] = ids[token.encode()]
            continue
        listed = [document.get(f"{hf_name}_token_id") for document in numbered]
        firsts = [value[0] if isinstance(value, list) and value else value for value in listed]
        candidates = [value for value in (*firsts, defaults.get(name)) if type(value) is int and value >= 0]
        if candidates:
            special[name] = candidates[0]
    if "eos" not in special:
        raise ValueError("no file of the folder gives an end-of-sequence token")
    return special


def post_processor_flags(processor: Any) -> dict[str, bool]:
    """Return the flags that a post-processor sets: its template puts a special token first or last in a single text."""
    flags: dict[str, bool] = {}
    if not isinstance(processor, dict):
        return flags
    parts = processor.get("processors", [processor])
    for part in parts if isinstance(parts, list) else ():
        single = part.get("single") if isinstance(part, dict) and part.get("type") == "TemplateProcessing" else None
        if isinstance(single, list) and len(single) > 1:
            first, last = ("SpecialToken" in piece for piece in (single[0], single[-1]))
            flags |= {name: True for name, adds in (("add_bos_token", first), ("add_eos_token", last)) if adds}
    return flags


def tokenizer_flags(
    config: Mapping[str, Any], template: Mapping[str, bool], *, adds_space: bool | None
) -> dict[str, bool]:
    """Return the flags for what is added around a text. `template` overrides `config`, as in llama.cpp's converter.

    `adds_space` is the value from the vocabulary, or None for byte-level BPE.

    Raises:
        ValueError: byte-level BPE that puts a space before the text.
    """
    flags = {name: config[name] for name in ("add_bos_token", "add_eos_token") if isinstance(config.get(name), bool)}
    flags |= template
    prefix = config.get("add_prefix_space")
    if adds_space is None:
        flags.setdefault("add_bos_token", False)  # llama.cpp's default for "llama-bpe" is True
        if prefix is True:
            raise ValueError("it puts a space before a text, which llama.cpp does not do in byte-level BPE")
    if isinstance(prefix, bool):
        flags["add_space_prefix"] = prefix
    elif adds_space is False:
        flags["add_space_prefix"] = False
    return flags


def read_chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the chat template as text, from its own file or from the configuration, which may have several.

    Raises:
        ValueError: it is too long or not UTF-8.
    """
    path = folder / TEMPLATE_NAME
    if path.is_file():
        with path.open("rb") as file:
            data = file.read(_MAX_TEMPLATE_BYTES + 1)
        if len(data) > _MAX_TEMPLATE_BYTES:
            raise ValueError(f"{TEMPLATE_NAME} has more than {_MAX_TEMPLATE_BYTES:,} bytes")
        return data.decode()
    template = config.get("chat_template")
    for part in template if isinstance(template, list) else ():
        if isinstance(part, dict) and part.get("name") == "default":
            template = part.get("template")
    if not isinstance(template, str):
        return None
    template.encode()  # raises for half a surrogate pair
    return template
