"""Names of precisions. ``f32``, ``bf16``, ``f16`` and ``int8`` are shown; cards and build files say fp32 and fp16."""

from __future__ import annotations

from typing import Any, Literal

Precision = Literal["f32", "bf16", "f16", "int8"]
StoredPrecision = Literal["fp32", "fp16", "int8"]  # of the weights in a graph, as cards name it
_SYNONYMS = {
    "fp32": "f32", "float32": "f32", "fp16": "f16", "float16": "f16", "half": "f16", "bfloat16": "bf16",
}  # fmt: skip


def precision_name(name: Any) -> Any:
    """Return the ``Precision`` that ``name`` is a synonym of; anything else unchanged."""
    return _SYNONYMS.get(name, name) if isinstance(name, str) else name


def stored_name(name: Any) -> Any:
    """Return the ``StoredPrecision`` that ``name`` is a synonym of; anything else unchanged."""
    return {"f32": "fp32", "f16": "fp16"}.get(precision_name(name), name) if isinstance(name, str) else name
