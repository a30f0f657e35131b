"""The differences between two JSON documents."""

from __future__ import annotations


def differences(a: object, b: object) -> list[str]:
    """Return the dotted names of the values that differ, or that only one of two JSON documents has."""
    leaves_a, leaves_b = _leaves(a), _leaves(b)
    names = {**leaves_a, **leaves_b}
    return [name for name in names if leaves_a.get(name, ...) != leaves_b.get(name, ...)]


def _leaves(value: object, name: str = "") -> dict[str, object]:
    """Return the values of nested objects by their dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    leaves: dict[str, object] = {}
    for key, inner in value.items():
        leaves |= _leaves(inner, f"{name}.{key}" if name else key)
    return leaves
