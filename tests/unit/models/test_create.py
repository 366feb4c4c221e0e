"""Networks by name or architecture, and those whose residual branches begin as zero."""

from __future__ import annotations

import pytest
import torch

from fakes import NETWORKS
from wideresnet.architectures import Architecture, get_architecture, with_variant
from wideresnet.errors import ConfigError
from wideresnet.models import create_model, zero_branches


def test_classes_and_dropout_are_those_of_the_call_for_an_architecture_too() -> None:
    """Also of a variant, which has no name."""
    model = create_model(with_variant(get_architecture("wrn_10_1"), {"block": "postact"}), num_classes=7, dropout=0.2)
    assert model.get_submodule("fc").out_features == 7
    assert model.get_submodule("layer1.0.dropout").p == 0.2
    with pytest.raises(ConfigError, match="wide_resnet14_2 has no dropout"):
        create_model(get_architecture("wide_resnet14_2"), dropout=0.2)


@pytest.mark.parametrize("architecture", NETWORKS.values(), ids=NETWORKS)
def test_zero_branches_change_nothing_and_learn(architecture: Architecture) -> None:
    """The branches' first convolutions have no effect on the answer, and the zeros have gradients."""
    torch.manual_seed(0)
    model = create_model(architecture)
    zero_branches(model)
    images = torch.randn(4, 3, 32, 32)
    before = model(images)
    firsts = [weight for name, weight in model.named_parameters() if name.endswith(".conv1.weight")]     # not the stem
    assert firsts
    with torch.no_grad():
        for weight in firsts:
            weight.add_(torch.randn_like(weight))
    after = model(images)
    assert torch.equal(after, before)
    after.square().mean().backward()
    zeros = [weight for name, weight in model.named_parameters() if name.endswith("weight") and not weight.any()]
    assert len(zeros) == len(firsts)
    assert all(weight.grad is not None and weight.grad.any() for weight in zeros)
