"""Values that cross folders: frozen, without behaviour beyond arithmetic on themselves.

Fractions are fractions (0.785) here; only ``report`` turns them into percent.
"""

from wideresnet.records.accuracy import (
    EngineInfo,
    EvalReport,
    Measured,
    Precision,
    Published,
    wilson_interval,
)
from wideresnet.records.compilation import (
    CompileReport,
    Deviation,
    Estimator,
    GateReport,
    LayerLoss,
    QuantiseSettings,
    Trial,
)
from wideresnet.records.models import (
    ModelCard,
    ModelInfo,
)
from wideresnet.records.pictures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    RGB,
    Batch,
    Exif,
    Failure,
    Interpolation,
    Item,
    Labels,
    LabelScore,
    Prediction,
    Preprocess,
    ResizeMode,
)
from wideresnet.records.progress import Doing
from wideresnet.records.speed import (
    BenchReport,
    BenchRow,
    Choice,
    LayerTime,
    Peak,
    Profile,
    Tuning,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "RGB",
    "Batch",
    "BenchReport",
    "BenchRow",
    "Choice",
    "CompileReport",
    "Deviation",
    "Doing",
    "EngineInfo",
    "Estimator",
    "EvalReport",
    "Exif",
    "Failure",
    "GateReport",
    "Interpolation",
    "Item",
    "LabelScore",
    "Labels",
    "LayerLoss",
    "LayerTime",
    "Measured",
    "ModelCard",
    "ModelInfo",
    "Peak",
    "Precision",
    "Prediction",
    "Preprocess",
    "Profile",
    "Published",
    "QuantiseSettings",
    "ResizeMode",
    "Trial",
    "Tuning",
    "wilson_interval",
]
