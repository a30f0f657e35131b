"""What differs between two JSON documents, by dotted names."""

from __future__ import annotations


def differences(ours: object, theirs: object) -> list[str]:
    """Return the dotted names of what differs between two JSON documents."""
    a, b = _flat(ours), _flat(theirs)
    return [name for name in {**a, **b} if a.get(name, ...) != b.get(name, ...)]


def _flat(value: object, name: str = "") -> dict[str, object]:
    """Return the leaves of nested objects under their dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, object] = {}
    for inner, below in value.items():
        flat |= _flat(below, f"{name}.{inner}" if name else inner)
    return flat
