"""The model bundle: a folder that describes itself (model.onnx, card.json, labels.txt)."""

from wideresnet.bundle.bundle import Bundle, make_bundle, network_of, with_alpha
from wideresnet.bundle.files import check_target, is_bundle, read_bundle, write_bundle

__all__ = [
    "Bundle",
    "check_target",
    "is_bundle",
    "make_bundle",
    "network_of",
    "read_bundle",
    "with_alpha",
    "write_bundle",
]
