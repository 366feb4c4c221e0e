"""Wide ResNets from weights to labels: exact, measured, on ordinary CPUs.

    classifier = wideresnet.load()                       # or a tag, a bundle, a weights file
    wideresnet.evaluate(classifier, "val/")              # -> EvalReport
    wideresnet.explain("cat.jpg", k=2)                   # -> class activation maps
    wideresnet.embed(["cat.jpg", "dog.jpg"], layers=["layer2", "layer3"])       # -> float32 arrays by layer
    wideresnet.finetune("pets/", "runs/pets")            # class folders -> a bundle of one's own, runs/pets/bundle
    wideresnet.preprocess("cat.jpg", "wide_resnet50_2.tv_in1k")
    wideresnet.create_model("wrn_28_10", num_classes=100, dropout=0.3)      # extra "train"
    wideresnet.Client("http://127.0.0.1:8000").classify("cat.jpg")          # asks a running ``wrn serve``

Importing this imports no runtime: every name below is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wideresnet.architectures import get_architecture
    from wideresnet.classifier import Classifier
    from wideresnet.client import Client
    from wideresnet.errors import WrnError
    from wideresnet.models.create import create_model
    from wideresnet.tasks.classify.embed import embed
    from wideresnet.tasks.classify.explain import explain
    from wideresnet.tasks.classify.preprocessing import preprocess
    from wideresnet.tasks.evaluate.evaluate import evaluate
    from wideresnet.tasks.finetune.finetune import finetune
    from wideresnet.tasks.load.load import load

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Client",
    "WrnError",
    "create_model",
    "embed",
    "evaluate",
    "explain",
    "finetune",
    "get_architecture",
    "load",
    "preprocess",
]

_HOMES = {
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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'wideresnet' has no attribute {name!r}")
    if name == "create_model":
        from wideresnet.errors import needs_extra

        with needs_extra("create_model", "train"):
            return getattr(import_module(_HOMES[name]), name)
    return getattr(import_module(_HOMES[name]), name)
