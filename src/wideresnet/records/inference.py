"""Settings of inference: everything besides model and images that commands, jobs on a cluster and runs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


DEFAULT_INFERENCE = InferenceSettings()
