"""Names and licences: what a model and its files may be called, and what a base is called.

Source of the file names: docs/gguf.md of ggml.
"""

from __future__ import annotations

import re
import reprlib
from contextlib import suppress
from typing import TYPE_CHECKING

import gguf
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from genrec_edge.catalog.titles import clean
from genrec_edge.convert.hf_json import CONFIG_NAME, read_json
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.gguf.header import read_header
from genrec_edge.gguf.training_keys import RECORD_NAME

if TYPE_CHECKING:
    from pathlib import Path

MODEL_VERSION = "v1.0"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
_MAX_NAME_LENGTH = 60
# The form of an SPDX expression; `packaging` has the list, and would also take other spellings of the operators.
_LICENCE = re.compile(r"\(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*( (AND|OR|WITH) \(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*)*")
_MAX_LICENCE_LENGTH = 500
_MAX_CARD_LENGTH = 1 << 18
_CARD_LICENCE = re.compile(r"^license(_name)?:(?P<licence>.*)$", re.MULTILINE)
_RESTRICTED = re.compile(r"(?i)\b(cc-by-nc|[a-z0-9-]*-nc-|non-?commercial|research)|LicenseRef-")
_TERMS = re.compile(
    r"(?i)([a-z-]+ ){0,3}(non-?commercial|research[- ](purposes )?only|only for research|for research only"
    r"|no commercial use|not be used (for )?commercial(ly)?)( [a-z-]+){0,3}"
)
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
    """Return `licence` as SPDX spells it, if it is an expression of licences on SPDX's list and of LicenseRef-….

    Raises:
        UsageError: it is None or not an SPDX expression; for None the hint gives the licence recorded in the base.
    """
    if licence is None:
        recorded = _recorded_licence(base)
        hint = f"the base says {recorded}" if recorded else "see the model card of the base; for example Apache-2.0"
        raise UsageError("the result needs a licence: give `licence` as an SPDX expression", hint=hint)
    if _LICENCE.fullmatch(licence) and len(licence) <= _MAX_LICENCE_LENGTH:
        with suppress(InvalidLicenseExpression, RecursionError, MemoryError):
            return str(canonicalize_license_expression(licence))
    hint = "for example Apache-2.0, MIT, or LicenseRef-llama2 for a licence without an SPDX name"
    message = f"`licence` is {reprlib.repr(licence)}, which is not an SPDX expression of licences on SPDX's list"
    raise UsageError(message, hint=hint)


def licence_note(licence: str, adapter: Path) -> str:
    """Return a note if an adapter may be used for less than the licence of the result says, or "".

    Only what is written is compared: the licence of its data in our training record, the licence in the front matter of
    its card, and words of the card on research and commerce.
    """
    if _RESTRICTED.search(licence):
        return ""
    data = read_json(adapter / RECORD_NAME).get("data_licence") if (adapter / RECORD_NAME).is_file() else None
    if isinstance(data, str) and _RESTRICTED.search(data):
        return f"{adapter} was trained on data under {clean(data)}, and the result is to be under {licence}"
    claimed, text = _card(adapter)
    if _RESTRICTED.search(claimed):
        return f"the card of {adapter} says that its licence is {claimed}, and the result is to be under {licence}"
    if match := _TERMS.search(text):
        return f"the card of {adapter} says {match[0]!r}, and the result is to be under {licence}"
    return ""


def _card(folder: Path) -> tuple[str, str]:
    """Return the licence in the front matter of a model card, and all of its text on one line; empty without a card."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MAX_CARD_LENGTH)
    except OSError:
        return "", ""
    matter = text[3:].partition("\n---")[0] if text.startswith("---") else ""
    names = [match["licence"].strip(" \"'") for match in _CARD_LICENCE.finditer(matter)]
    return clean(" ".join(names)), clean(text)


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
