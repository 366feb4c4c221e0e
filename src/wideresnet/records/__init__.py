"""Values that cross folders: frozen, without behaviour beyond arithmetic on themselves.

Fractions are fractions (0.785) here; only ``report`` turns them into percent.
"""

from wideresnet.records.accuracy import EngineInfo, Measured, PassedOn, Published, wilson_interval
from wideresnet.records.bulk import BulkReport, ShardDone
from wideresnet.records.cascade import (
    Cascade,
    CascadeMember,
    CascadePoint,
    CascadeReport,
    CascadeSpeed,
    CertaintyMeasure,
)
from wideresnet.records.comparison import ClassChange, ComparisonReport, Flip, mcnemar, paired_bound, paired_interval
from wideresnet.records.compilation import (
    CompileReport,
    Deviation,
    Estimator,
    GateReport,
    LayerLoss,
    QuantiseSettings,
    Trial,
)
from wideresnet.records.embedding import Embedding, EmbedReport
from wideresnet.records.evaluation import (
    BILLION,
    BINS,
    Bin,
    ClassCounts,
    Conditions,
    Confusion,
    EvalReport,
    Example,
    Losses,
    Masked,
    Scored,
    by_path,
    most_frequent,
)
from wideresnet.records.explanation import Box, ClassMap, Explanation
from wideresnet.records.identity import RunIdentity
from wideresnet.records.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    RGB,
    Alpha,
    Batch,
    CropsByRow,
    EncodedImage,
    Exif,
    Failure,
    Interpolation,
    Item,
    Labels,
    LabelScore,
    Normalisation,
    Prediction,
    Preprocess,
    Source,
)
from wideresnet.records.inference import DEFAULT_INFERENCE, InferenceSettings, InferMode
from wideresnet.records.models import FileFacts, FileReport, ModelCard, ModelInfo
from wideresnet.records.progress import Progress, follow, map_events
from wideresnet.records.seeds import SeedRun, SeedsReport, student_t
from wideresnet.records.skipped import Skipped
from wideresnet.records.speed import BenchReport, BenchRow, Choice, LayerTime, Peak, Profile, Tuning
from wideresnet.records.training import (
    FinetuneMode,
    FinetuneReport,
    Images,
    PathPoint,
    RecipeInfo,
    TrainingImage,
    TrainReport,
)
from wideresnet.records.uncertainty import (
    P_BINS,
    CalibrateReport,
    KnownScores,
    MarginScale,
    Reliability,
    ScoreQuantiles,
    Selective,
    SetCoverage,
    SetMethod,
    SetModel,
    Uncertainty,
    UncertaintyCounts,
    UnknownMethod,
    UnknownModel,
)
from wideresnet.records.verification import Allowed, Target, Verification
