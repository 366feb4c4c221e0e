"""Variants of the networks, and their function computed from the descriptions alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Every value of every field, then combinations that public code has.
CIFAR_VARIANTS: list[dict[str, Any]] = [
    {},
    {"activation": "leaky_relu"},
    {"activation": "silu"},
    {"bn_eps": 1e-3},
    {"final_bn_eps": 1e-2},
    {"shortcut": "raw"},
    {"shortcut": "always"},
    {"shortcut": "skip_norm"},
    {"stride_on": "conv2"},
    {"padding": "same"},
    {"pool": "max"},
    {"pool": "avgmax"},
    {"conv_bias": True},
    {"project_first": True},
    {"block": "postact"},
    {"shortcut": "skip_norm", "activation": "leaky_relu", "bn_eps": 1e-3, "conv_bias": True},
    {"shortcut": "skip_norm", "project_first": True, "padding": "same", "stride_on": "conv2"},
    {"shortcut": "raw", "stride_on": "conv2", "conv_bias": True},
    {"shortcut": "always", "project_first": True, "conv_bias": True, "pool": "max"},
    {"activation": "silu", "padding": "same", "bn_eps": 1e-3, "final_bn_eps": 1e-5},
    {"block": "postact", "stride_on": "conv2", "conv_bias": True},
    {"block": "postact", "activation": "silu", "padding": "same", "project_first": True, "pool": "avgmax"},
]
IMAGENET_VARIANTS: list[dict[str, Any]] = [
    {"activation": "leaky_relu", "pool": "max"},
    {"activation": "silu", "bn_eps": 1e-3},
    {"pool": "avgmax"},
]


def reference_logits(tensors: Mapping[str, Tensor], variant: Mapping[str, Any], x: Tensor) -> Tensor:
    """The logits [N, C] of a WRN-n-k variant for normalised images [N, 3, S, S]; at most ten blocks a stage."""

    def activate(x: Tensor) -> Tensor:
        name = variant.get("activation", "relu")
        return x.sigmoid() * x if name == "silu" else torch.where(x > 0, x, {"relu": 0.0, "leaky_relu": 0.1}[name] * x)

    def norm(x: Tensor, name: str, epsilon: float = variant.get("bn_eps", 1e-5)) -> Tensor:
        weight, bias, mean, variance = (
            tensors[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (variance + epsilon).sqrt() * weight + bias

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        if weight.shape[-1] == 3:
            total = max((-(-x.shape[-1] // stride) - 1) * stride + 3 - x.shape[-1], 0)
            before = total // 2 if variant.get("padding") == "same" else 1
            after = total - before if variant.get("padding") == "same" else 1
            x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, weight, tensors.get(f"{name}.bias"), stride)

    def preact(x: Tensor, name: str, first: int, second: int, stage: int) -> Tensor:
        kind, projects = variant.get("shortcut", "activated"), f"{name}.shortcut.weight" in tensors
        activated = activate(norm(x, f"{name}.bn1"))
        if kind == "skip_norm" and stage > 1 and projects:
            activated = x
        y = activate(norm(conv(activated, f"{name}.conv1", first), f"{name}.bn2"))
        y = conv(y, f"{name}.conv2", second)
        if projects:
            return y + conv(x if kind == "raw" else activated, f"{name}.shortcut", first * second)
        return y + (activated if kind == "always" else x)

    def postact(x: Tensor, name: str, first: int, second: int, stage: int) -> Tensor:
        y = conv(activate(norm(conv(x, f"{name}.conv1", first), f"{name}.bn1")), f"{name}.conv2", second)
        if f"{name}.shortcut.weight" in tensors:
            x = conv(x, f"{name}.shortcut", first * second)
        return activate(norm(x + y, f"{name}.bn2"))

    is_postact = variant.get("block") == "postact"
    x = conv(x, "conv1")
    if is_postact:
        x = activate(norm(x, "bn1"))
    for name in dict.fromkeys(key[: len("layer1.0")] for key in tensors if key.startswith("layer")):
        stage, index = map(int, name.removeprefix("layer").split("."))
        strides = [1, 2 if stage > 1 and index == 0 else 1]
        if variant.get("stride_on") != "conv2":
            strides.reverse()
        x = (postact if is_postact else preact)(x, name, *strides, stage)
    if not is_postact:
        x = activate(norm(x, "bn", variant.get("final_bn_eps", variant.get("bn_eps", 1e-5))))
    pool = variant.get("pool", "avg")
    mean, maximum = x.mean((2, 3)), x.flatten(2).max(2).values
    x = {"avg": mean, "max": maximum, "avgmax": (mean + maximum) / 2}[pool]
    return x @ tensors["fc.weight"].T + tensors["fc.bias"]
