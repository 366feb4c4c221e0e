"""Runtimes behind one interface: RGB uint8 [N, S, S, 3] -> float32 logits [N, C]."""

from wideresnet.engines.base import Engine, EngineOptions
from wideresnet.engines.open import ENGINES, open_engine

__all__ = ["ENGINES", "Engine", "EngineOptions", "open_engine"]
