"""Check that our ONNX graph computes the same logits as the imported one its weights come from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx

from wideresnet.bundle import Bundle
from wideresnet.engines import open_engine
from wideresnet.errors import BundleError, WeightsError, errors_as
from wideresnet.graph.check import checked_skeleton
from wideresnet.images.noise import noise
from wideresnet.logits import deviation
from wideresnet.tasks.load.run_onnx import run_onnx
from wideresnet.weights.read import sha256_of

MAX_SIDE = 1024                                    # pixels of an imported graph
MAX_DEVIATION = 1e-3                               # root mean square difference over the logits' deviation


def read_onnx(path: Path) -> tuple[onnx.ModelProto, str]:
    """Read a float graph, with weights in external files, and their SHA-256. Raises WeightsError, BundleError."""
    # Protobuf's and onnx's own, OSError, IndexError.
    with errors_as(Exception, WeightsError, f"cannot read {path} as ONNX", hint="export it again"):
        model = onnx.load(path, load_external_data=False)
        entries = [entry for constant in model.graph.initializer for entry in constant.external_data]
        names = sorted({entry.value for entry in entries if entry.key == "location"})
        onnx.load_external_data_for_model(model, str(path.parent))
        sha256 = sha256_of(path, *(path.parent / name for name in names))
        images = model.graph.input[0].type.tensor_type
    if model.producer_name == "wideresnet":
        raise BundleError(f"{path} is the graph of a bundle without its card", hint="give the folder it was in")
    sizes = [dim.dim_value for dim in images.shape.dim]
    if images.elem_type != onnx.TensorProto.FLOAT or len(sizes) != 4 or sizes[1] not in (0, 3):
        raise BundleError(f"{path} does not take float32 [N, 3, H, W]", hint="export the network without a transform")
    if quantised := [node.op_type for node in model.graph.node if re.match("Quant|QLinear|DynamicQ", node.op_type)]:
        problem = f"{path} is quantised: it has {quantised[0]}"
        raise BundleError(problem, hint="give the float graph, and quantise it with 'wrn compile'")
    if sizes[0] > 1:
        raise BundleError(f"{path} takes {sizes[0]} images at once", hint="export it for one image, or for any number")
    if max(sizes) > MAX_SIDE:
        raise BundleError(f"{path} takes images of more than {MAX_SIDE:,} pixels a side", hint="export a smaller input")
    checked_skeleton(model)
    return model, sha256


def input_side(model: onnx.ModelProto) -> int:
    """Return the side of the input in pixels; 0 if it is not fixed."""
    return int(model.graph.input[0].type.tensor_type.shape.dim[3].dim_value)


def check_same(path: Path, bundle: Bundle) -> None:
    """Raise BundleError if the logits of ``path`` and ``bundle`` differ, on three images of noise."""
    side, spec = bundle.card.preprocess.crop, bundle.card.preprocess
    batch = noise(side, 3)
    normalised = ((batch / 255 - np.array(spec.mean)) / np.array(spec.std)).transpose(0, 3, 1, 2)
    logits = run_onnx(path, normalised.astype(np.float32))
    same_shape = logits.shape == (3, bundle.card.classes)
    relative = deviation(logits, open_engine(bundle)(batch)) if same_shape else np.inf
    if not relative <= MAX_DEVIATION:
        raise BundleError(
            f"{path} has the layers of {bundle.card.architecture}, but computes something else: logits differ by"
            f" {relative:.2g} (relative RMS error)",
            hint="export the network as it was trained: without softmax, transform or quantisation in the graph",
        )

