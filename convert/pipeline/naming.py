"""Names and licences: what a model and its files may be called, and what a base is called.

Source of the file names: docs/gguf.md of ggml.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import gguf

from genrec_edge.catalog.titles import clean
from genrec_edge.convert.hf_json import CONFIG_NAME, read_json
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header

if TYPE_CHECKING:
    from pathlib import Path

MODEL_VERSION = "v1.0"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
_MAX_NAME_LENGTH = 60
# An SPDX expression: identifiers, LicenseRef-…, joined by AND, OR and WITH. Source: SPDX specification 2.3, annex D.
_LICENCE = re.compile(r"\(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*( (AND|OR|WITH) \(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*)*")
# "owner/name", or a name. transformers also writes local paths there, which must not be published.
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def check_name(name: str) -> None:
    """Check that `name` can be part of file names in the GGUF convention.

    Raises:
        UsageError: it has characters other than letters, digits and single hyphens, does not start with a letter, or is
            too long.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_LENGTH:
        raise UsageError(
            f"`name` is {name!r}, which cannot be the name of a model",
            hint=f"use letters, digits and single hyphens, at most {_MAX_NAME_LENGTH}, starting with a letter",
        )


def check_licence(licence: str | None, base: Path) -> str:
    """Return `licence`, if it is an SPDX expression.

    Raises:
        UsageError: it is None or not an SPDX expression; for None the hint gives the licence recorded in the base.
    """
    if licence is None:
        recorded = _recorded_licence(base)
        hint = f"the base says {recorded}" if recorded else "see the model card of the base; for example Apache-2.0"
        raise UsageError("the result needs a licence: give `licence` as an SPDX expression", hint=hint)
    if not _LICENCE.fullmatch(licence) or not _is_balanced(licence):
        hint = "for example Apache-2.0, MIT, or LicenseRef-llama2 for a licence without an SPDX name"
        raise UsageError(f"`licence` is {licence!r}, which is not an SPDX expression", hint=hint)
    return licence


def _is_balanced(text: str) -> bool:
    """Return whether the parentheses of a text match."""
    depth = 0
    for character in text:
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        if depth < 0:
            return False
    return depth == 0


def _recorded_licence(base: Path) -> str:
    """Return the licence in the metadata of a GGUF; "" if it has none or is a folder."""
    try:
        value = read_header(base).metadata.get("general.license", "")
    except ModelInvalidError:
        return ""  # a folder, or a damaged file, which is reported when the base is opened
    return value if isinstance(value, str) else ""


def size_label(n_params: int) -> str:
    """Return the size of a model in the GGUF convention, such as "135M"."""
    label: str = gguf.size_label(n_params, n_params, 0, 0)
    return label


def file_name(name: str, n_params: int, encoding: str, kind: str | None = None) -> str:
    """Return a file name in the GGUF convention, such as "films-135M-v1.0-Q8_0.gguf"."""
    stem = gguf.naming_convention(None, name, None, MODEL_VERSION, size_label(n_params), encoding, kind)  # type: ignore[arg-type]
    return f"{stem}.gguf"


def base_name(base: Path) -> str:
    """Return the name recorded in a base, or else the name of its file or folder; never its full path."""
    if base.is_dir():
        recorded = read_json(base / CONFIG_NAME).get("_name_or_path")
        if not (isinstance(recorded, str) and _HUB_NAME.fullmatch(recorded)):
            recorded = base.resolve().name
    else:
        metadata = read_header(base).metadata
        recorded = metadata.get("general.name") or metadata.get("general.basename")
    return clean(recorded if isinstance(recorded, str) and recorded else base.stem)
