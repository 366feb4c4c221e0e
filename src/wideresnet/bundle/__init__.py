"""The model bundle: a folder that knows itself (model.onnx, card.json, labels.txt)."""

from wideresnet.bundle.bundle import Bundle, make_bundle, with_alpha
from wideresnet.bundle.files import is_bundle, read_bundle, write_bundle

__all__ = ["Bundle", "is_bundle", "make_bundle", "read_bundle", "with_alpha", "write_bundle"]
