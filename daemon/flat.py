"""Nested settings as one level of dotted keys, as `linewarden config dump` shows them. Pure."""

from typing import Any


def flatten(prefix: str, value: Any) -> dict[str, Any]:
    """Return {key: value} of every leaf below `prefix`."""
    if isinstance(value, dict):
        items = [(f"{prefix}.{key}" if prefix else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{prefix}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat.update(flatten(key, item))
    return flat
