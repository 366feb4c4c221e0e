"""Make ``logits.npz`` anew: what the small networks of ``fakes.TINY`` answer, computed by plain torch.

    PYTHONPATH=tests python tests/golden/regenerate_logits.py

The forward passes are written down a second time here, from torchvision's and the paper's definitions and
with batch norms as they are, in float64: neither ``models`` nor ``graph`` is asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fakes import TINY, tiny_images, tiny_tensors
from wideresnet.records import IMAGENET_MEAN, IMAGENET_STD

Weights = dict[str, Tensor]


def main() -> None:
    logits = {}
    for name, architecture in TINY.items():
        w = {key: torch.from_numpy(np.array(value)).double() for key, value in tiny_tensors(architecture).items()}
        x = torch.from_numpy(tiny_images(3, architecture.input_size)).double() / 255
        x = (x - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        forward = cifar if architecture.family == "cifar" else imagenet
        logits[name] = forward(w, x.permute(0, 3, 1, 2)).float().numpy()
    np.savez_compressed(Path(__file__).parent / "logits.npz", **logits)


def cifar(w: Weights, x: Tensor) -> Tensor:
    x = F.conv2d(x, w["conv1.weight"], padding=1)
    for name in blocks(w):
        stride = 2 if name in ("layer2.0", "layer3.0") else 1
        a = F.relu(norm(w, f"{name}.bn1", x))
        y = F.conv2d(a, w[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = F.conv2d(F.relu(norm(w, f"{name}.bn2", y)), w[f"{name}.conv2.weight"], padding=1)
        shortcut = w.get(f"{name}.shortcut.weight")
        x = y + (x if shortcut is None else F.conv2d(a, shortcut, stride=stride))
    return classify(w, F.relu(norm(w, "bn", x)))


def imagenet(w: Weights, x: Tensor) -> Tensor:
    x = F.relu(norm(w, "bn1", F.conv2d(x, w["conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for name in blocks(w):
        stride = 2 if name in ("layer2.0", "layer3.0", "layer4.0") else 1
        bottleneck = f"{name}.conv3.weight" in w
        strides, pads = ([1, stride, 1], [0, 1, 0]) if bottleneck else ([stride, 1], [1, 1])
        y = x
        for k, (step, pad) in enumerate(zip(strides, pads, strict=True), start=1):
            y = norm(w, f"{name}.bn{k}", F.conv2d(y, w[f"{name}.conv{k}.weight"], stride=step, padding=pad))
            y = F.relu(y) if k < len(strides) else y
        down = w.get(f"{name}.downsample.0.weight")
        if down is not None:
            x = norm(w, f"{name}.downsample.1", F.conv2d(x, down, stride=stride))
        x = F.relu(x + y)
    return classify(w, x)


def blocks(w: Weights) -> list[str]:
    """Names like ``layer2.0`` in order."""
    return list(dict.fromkeys(".".join(key.split(".")[:2]) for key in w if key.startswith("layer")))


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-5)


def classify(w: Weights, x: Tensor) -> Tensor:
    return F.linear(x.mean((2, 3)), w["fc.weight"], w["fc.bias"])


if __name__ == "__main__":
    main()
