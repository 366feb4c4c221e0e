"""Wide ResNets from weights to labels, on CPUs.

    classifier = wideresnet.load()                           # or a catalogue name, a bundle, a weights file
    classifier.classify(["cat.jpg", "dog.jpg"], k=3)         # -> Predictions: a list, with to_table()
    classifier.iter_classify(Path("photos").rglob("*.jpg"))  # -> iterator, for any number of images
    classifier.logits("cat.jpg")                             # -> float32 [1, C]
    classifier.embed("cat.jpg", layers=["layer2"])           # -> {"layer2": float32 [1, C, H, W]}
    classifier.explain("cat.jpg", k=2)                       # -> class activation maps
    classifier.evaluate("val/")                              # -> EvalReport
    classifier.calibrate("val/", "calibrated/")              # -> CalibrateReport, and the calibrated bundle
    wideresnet.embed("cat.jpg", "wide_resnet50_2")           # functions take a classifier or the name of a model
    wideresnet.preprocess("cat.jpg", "wide_resnet50_2.tv_in1k")             # -> uint8 [224, 224, 3]
    wideresnet.finetune("pets/", "runs/pets", "wide_resnet50_2")            # class folders -> runs/pets/bundle
    wideresnet.compile("int8/", calibration="train/", data="val/")          # an int8 bundle, behind an accuracy gate
    wideresnet.cascade("fast/", ["small/", "wrn_16_4.cifar10"], "cifar10")  # a bundle, with a bound on its loss
    wideresnet.compare("wrn_16_4.cifar10", "int8/", "cifar10")              # paired, with confidence interval
    wideresnet.create_model("wrn_28_10", num_classes=100, dropout=0.3)      # torch.nn.Module; extra "train"
    wideresnet.Client("http://127.0.0.1:8000").classify("cat.jpg")          # a client of ``wrn serve``

Importing the package imports no runtime: every name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wideresnet.architectures import get_architecture
    from wideresnet.classifier import Classifier
    from wideresnet.client import Client
    from wideresnet.datasets.inputs import SkippedWarning
    from wideresnet.errors import WrnError
    from wideresnet.functions import bench, cascade, compare, compile, create_model, export, train
    from wideresnet.output.answers import to_table
    from wideresnet.output.predictions import Predictions
    from wideresnet.records import EvalReport, Explanation, Failure, Prediction
    from wideresnet.tasks.calibrate.calibrate import calibrate
    from wideresnet.tasks.classify.embed import embed
    from wideresnet.tasks.classify.explain import explain
    from wideresnet.tasks.classify.preprocessing import preprocess
    from wideresnet.tasks.evaluate.model import evaluate
    from wideresnet.tasks.finetune.finetune import finetune
    from wideresnet.tasks.load.load import AssumptionWarning, load

__version__ = "0.1.0"
__all__ = [
    "AssumptionWarning", "Classifier", "Client", "EvalReport", "Explanation", "Failure", "Prediction", "Predictions",
    "SkippedWarning", "WrnError", "bench", "calibrate", "cascade", "compare", "compile", "create_model", "embed",
    "evaluate", "explain", "export", "finetune", "get_architecture", "load", "preprocess", "to_table", "train",
]  # fmt: skip
# Where names are: module -> names, as imported above.
_NAMES = {
    "architectures": "get_architecture", "classifier": "Classifier", "client": "Client", "errors": "WrnError",
    "datasets.inputs": "SkippedWarning", "functions": "bench cascade compare compile create_model export train",
    "output.answers": "to_table", "output.predictions": "Predictions", "tasks.classify.embed": "embed",
    "records": "EvalReport Explanation Failure Prediction", "tasks.classify.explain": "explain",
    "tasks.classify.preprocessing": "preprocess", "tasks.evaluate.model": "evaluate",
    "tasks.calibrate.calibrate": "calibrate", "tasks.finetune.finetune": "finetune",
    "tasks.load.load": "AssumptionWarning load",
}  # fmt: skip
_MODULES = {name: f"wideresnet.{module}" for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'wideresnet' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
