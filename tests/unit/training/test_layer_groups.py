"""Trained weights as a beginning: the same function, whatever is restated, and a head without an opinion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fakes import NETWORKS, tiny_images, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.graph.fold import unfolded
from wideresnet.layers import Norm
from wideresnet.models import create_model
from wideresnet.training.augment import normalise, to_planes
from wideresnet.training.layer_groups import HEAD_STD, recalibrate_batch_norm, stage_of, with_new_head

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_parameter_has_its_stage() -> None:
    names = ("conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer4.2.downsample.1.weight", "bn.bias", "fc.bias")
    assert [stage_of(name) for name in names] == [0, 0, 1, 4, float("inf"), float("inf")]


def test_a_new_head_is_small_and_everything_else_stays() -> None:
    architecture = get_architecture("wrn_10_1", 3)
    tensors = tiny_tensors(get_architecture("wrn_10_1", 10))
    tensors_of_head = with_new_head(tensors, architecture, 0)
    assert {key: value.shape for key, value in tensors_of_head.items()} == architecture.tensors()
    assert all(tensors_of_head[key] is tensors[key] for key in tensors_of_head if not key.startswith("fc."))
    assert 0.5 * HEAD_STD < tensors_of_head["fc.weight"].std() < 2 * HEAD_STD
    assert not tensors_of_head["fc.bias"].any()
    of_another_seed = with_new_head(tensors, architecture, 1)
    assert not np.array_equal(tensors_of_head["fc.weight"], of_another_seed["fc.weight"])


@pytest.mark.parametrize("name", ["wrn_10_1", "bottleneck", "skip_norm", "postact"])
def test_restated_norms_compute_the_same_and_have_the_statistics_of_what_they_see(name: str) -> None:
    architecture = NETWORKS[name]
    tensors = dict(tiny_tensors(architecture))
    rng = np.random.default_rng(0)
    for norm in architecture.layers():             # as they come out of a graph
        if isinstance(norm, Norm):
            channels = norm.channels
            tensors |= unfolded(rng.uniform(0.5, 1.5, channels), rng.standard_normal(channels), norm)
    images = normalise(to_planes(torch.from_numpy(tiny_images(12, 32))), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 32)
    state = recalibrate_batch_norm(tensors, architecture, torch.split(images, 5))
    before, after = create_model(architecture), create_model(architecture)
    before.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
    after.load_state_dict(state)
    with torch.no_grad():
        expected, recalibrated = before.eval()(images), after.eval()(images)
        torch.testing.assert_close(recalibrated, expected, rtol=1e-3, atol=1e-3)
        # Batch statistics are now those that are kept: training goes on from the same function.
        torch.testing.assert_close(after.train()(images), expected, rtol=0.05, atol=0.1)
