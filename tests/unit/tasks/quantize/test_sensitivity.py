"""Sensitivity: the layer that is spoilt is the one that is named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fakes import tiny_bundle, tiny_images
from wideresnet.graph.quantise import quantise
from wideresnet.tasks.quantize.sensitivity import layer_losses

pytest.importorskip("nncf")


def test_a_layer_with_bad_scales_is_ranked_first_and_known_ones_are_not_measured_again() -> None:
    bundle = tiny_bundle()
    images = list(tiny_images(8, 32))
    int8 = quantise(onnx.ModelProto.FromString(bundle.graph), images)
    scale = next(c for c in int8.graph.initializer if c.name.startswith("scale_layer2.0.conv2.weight"))
    scale.CopyFrom(numpy_helper.from_array(3 * numpy_helper.to_array(scale), scale.name))
    losses = list(layer_losses(bundle, int8, images))
    assert [(each.name, each.operator) for each in losses][-1] == ("fc", "Gemm")
    assert max(losses, key=lambda each: each.mean_kl).name == "layer2.0.conv2"
    assert sum(each.macs for each in losses) == pytest.approx(1)
    assert all(each.mean_kl > 0 and np.isfinite(each.relative) for each in losses)
    left = list(layer_losses(bundle, int8, images, losses[:-2]))
    assert left == losses[-2:]
    assert list(layer_losses(bundle, int8, images, losses)) == []
