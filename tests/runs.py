"""Training runs for tests that stop and resume them: images, a recipe, and the comparison of two results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wideresnet.weights.read import read_tensors

# With every setting that has a state between epochs.
RECIPE = """
architecture = "wrn_10_1"
data = "folder"
epochs = {epochs}
batch_size = 8
learning_rate = 0.1
schedule = "one-cycle"
dropout = 0.3
ema = 0.9
label_smoothing = 0.1
trivial = true
mixup = 0.2
flip = "alternating"
stored = 20
"""


def noise_photos(folder: Path, val: int) -> None:
    """Write two classes of noise to ``folder``/photos: 16 training and ``val`` validation images each."""
    noise = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", val)):
        for name in ("cats", "dogs"):
            (folder / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (24, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / part / name / f"{number:02}.png")


def state(run: Path) -> dict[str, torch.Tensor]:
    """Return weights, averages and momentum of the checkpoint, and the weights of the result."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    momentum = {f"momentum {k}": v["momentum_buffer"] for k, v in saved["optimiser"]["state"].items()}
    averaged = {f"averaged {k}": v for k, v in saved["averaged"].items()}
    result = {f"result {k}": torch.from_numpy(v) for k, v in read_tensors(run / "model.safetensors").items()}
    return {**saved["model"], **momentum, **averaged, **result}


def log(run: Path) -> list[tuple[object, ...]]:
    """Return epoch, loss and accuracy of each line of the log."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["loss"], line.get("top1")) for line in lines]


def assert_the_same(first_run: Path, second_run: Path) -> None:
    """Assert that weights and logs are equal to the bit."""
    first, second = state(first_run), state(second_run)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert log(first_run) == log(second_run)
