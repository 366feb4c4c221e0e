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
    from wideresnet.errors import WrnError as WrnError
    from wideresnet.models.create import create_model as create_model
    from wideresnet.tasks.classify.embed import embed as embed
    from wideresnet.tasks.classify.explain import explain as explain
    from wideresnet.tasks.classify.preprocessing import preprocess as preprocess
    from wideresnet.tasks.evaluate.evaluate import evaluate as evaluate
    from wideresnet.tasks.finetune.finetune import finetune as finetune
    from wideresnet.tasks.load.load import load as load

__version__ = "0.1.0"

_MODULES = {
    "Classifier": "wideresnet.classifier",
    "Client": "wideresnet.client",
    "WrnError": "wideresnet.errors",
    "create_model": "wideresnet.models.create",
    "embed": "wideresnet.tasks.classify.embed",
    "evaluate": "wideresnet.tasks.evaluate.evaluate",
    "explain": "wideresnet.tasks.classify.explain",
    "finetune": "wideresnet.tasks.finetune.finetune",
    "get_architecture": "wideresnet.architectures",
    "load": "wideresnet.tasks.load.load",
    "preprocess": "wideresnet.tasks.classify.preprocessing",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'wideresnet' has no attribute {name!r}")
    if name == "create_model":
        from wideresnet.errors import needs_extra

        with needs_extra("create_model", "train"):
            return getattr(import_module(_MODULES[name]), name)
    return getattr(import_module(_MODULES[name]), name)
