"""Checkpoints as 29 public repositories write them: the same logits as the repository's own code."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import wideresnet
from shared import SHARED, needs_shared
from wideresnet.tasks.load.load import AssumptionWarning

WILD = SHARED / "oracle" / "wild"
FOLDERS = [file.parent for file in sorted(WILD.glob("*/weights.pth"))]
LIVE = [file.parent for file in sorted(WILD.glob("*/logits_raw.npy"))]
COPIES = [*((folder, None) for folder in FOLDERS), *((folder, "live") for folder in LIVE)]
pytestmark = needs_shared("oracle", "wild")


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    """CIFAR-10 images, uint8 [4, 32, 32, 3]."""
    return np.load(WILD / "batch_uint8_nhwc.npy")


@pytest.mark.filterwarnings("ignore::wideresnet.tasks.load.load.AssumptionWarning")
@pytest.mark.parametrize(("folder", "which"), COPIES, ids=lambda value: getattr(value, "name", value))
def test_with_the_facts_that_no_file_states_logits_are_the_repositorys(
    folder: Path, which: str | None, batch: np.ndarray
) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    statistics = expected["input"]["effective_on_0_to_1"]
    model = wideresnet.load(
        folder / "weights.pth",
        normalise=(tuple(statistics["mean"]), tuple(statistics["std"])),
        activation=expected["activation"].split()[0],
        which=which,
    )
    assert model.card.architecture == expected["architecture"]
    logits = np.load(folder / ("logits_raw.npy" if which else "logits.npy"))
    np.testing.assert_allclose(model.logits(batch), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_without_options_a_difference_is_announced(folder: Path, batch: np.ndarray) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = wideresnet.load(folder / "weights.pth")
    announced = any(issubclass(warning.category, AssumptionWarning) for warning in caught)
    difference = np.abs(model.logits(batch) - np.load(folder / "logits.npy")).max()
    assert announced or difference <= 1e-5
