"""Wide ResNets from weights to labels, on CPUs.

    classifier = wideresnet.load()                           # or a catalogue name, a bundle, a weights file
    classifier.classify(["cat.jpg", "dog.jpg"], k=3)         # -> list of Prediction
    classifier.logits("cat.jpg")                             # -> float32 [1, C]
    classifier.embed("cat.jpg", layers=["layer2"])           # -> {"layer2": float32 [1, C, H, W]}
    classifier.explain("cat.jpg", k=2)                       # -> class activation maps
    classifier.evaluate("val/")                              # -> EvalReport
    wideresnet.embed("cat.jpg", "wide_resnet50_2")           # functions take a classifier or the name of a model
    wideresnet.preprocess("cat.jpg", "wide_resnet50_2.tv_in1k")             # -> uint8 [224, 224, 3]
    wideresnet.finetune("pets/", "runs/pets")                # class folders -> the bundle runs/pets/bundle
    wideresnet.create_model("wrn_28_10", num_classes=100, dropout=0.3)      # torch.nn.Module; extra "train"
    wideresnet.Client("http://127.0.0.1:8000").classify("cat.jpg")          # a client of ``wrn serve``

Importing the package imports no runtime: every name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wideresnet.architectures import get_architecture as get_architecture
    from wideresnet.classifier import Classifier as Classifier
    from wideresnet.client import Client as Client
    from wideresnet.datasets.inputs import SkippedWarning as SkippedWarning
    from wideresnet.errors import WrnError as WrnError
    from wideresnet.functions import create_model as create_model
    from wideresnet.output.answers import to_table as to_table
    from wideresnet.output.predictions import Predictions as Predictions
    from wideresnet.records import EvalReport as EvalReport
    from wideresnet.records import Explanation as Explanation
    from wideresnet.records import Failure as Failure
    from wideresnet.records import Prediction as Prediction
    from wideresnet.tasks.classify.embed import embed as embed
    from wideresnet.tasks.classify.explain import explain as explain
    from wideresnet.tasks.classify.preprocessing import preprocess as preprocess
    from wideresnet.tasks.evaluate.model import evaluate as evaluate
    from wideresnet.tasks.finetune.finetune import finetune as finetune
    from wideresnet.tasks.load.load import AssumptionWarning as AssumptionWarning
    from wideresnet.tasks.load.load import load as load

__version__ = "0.1.0"

_MODULES = {
    "AssumptionWarning": "wideresnet.tasks.load.load",
    "Classifier": "wideresnet.classifier",
    "Client": "wideresnet.client",
    "EvalReport": "wideresnet.records",
    "Explanation": "wideresnet.records",
    "Failure": "wideresnet.records",
    "Prediction": "wideresnet.records",
    "Predictions": "wideresnet.output.predictions",
    "SkippedWarning": "wideresnet.datasets.inputs",
    "WrnError": "wideresnet.errors",
    "create_model": "wideresnet.functions",
    "embed": "wideresnet.tasks.classify.embed",
    "evaluate": "wideresnet.tasks.evaluate.model",
    "explain": "wideresnet.tasks.classify.explain",
    "finetune": "wideresnet.tasks.finetune.finetune",
    "get_architecture": "wideresnet.architectures",
    "load": "wideresnet.tasks.load.load",
    "preprocess": "wideresnet.tasks.classify.preprocessing",
    "to_table": "wideresnet.output.answers",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'wideresnet' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
