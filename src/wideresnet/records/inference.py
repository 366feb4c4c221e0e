"""Settings of inference: everything besides model and images that commands, jobs on a cluster and runs share."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from wideresnet.errors import ConfigError
from wideresnet.precision import precision_name
from wideresnet.records.images import Exif

InferMode = Literal["sync", "async"]


@dataclass(frozen=True)
class InferenceSettings:
    """The way in which a model is run on many images.

    ``threads`` 0: all CPUs. ``batch_size`` 0: as tuned for this machine (see ``engines.throughput``). ``reduced``:
    decode large JPEGs at a fraction of their size. ``mode``: see ``tasks.classify.classify.infer``. ``coverage``: of
    the prediction sets of a calibrated model, such as 0.95; 0: no sets.
    """

    engine: str = "openvino"
    precision: Literal["f32", "bf16"] = "f32"
    threads: int = 0
    batch_size: int = 8
    exif: Exif = "transpose"
    reduced: bool = False
    mode: InferMode = "async"
    coverage: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", precision_name(self.precision))
        if not isinstance(self.batch_size, Integral) or self.batch_size < 0:
            problem = f"batch size must be a whole number of at least 0, got {self.batch_size}"
            raise ConfigError(problem, hint="0 is as tuned for this machine")


DEFAULT_INFERENCE = InferenceSettings()
