"""Graph and torch module compute what torchvision, timm and the paper's definition compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes import TINY, tiny_images, tiny_tensors
from shared import SHARED, needs_shared
from wideresnet.architectures import get_architecture
from wideresnet.engines import EngineOptions
from wideresnet.engines.openvino import OpenVinoEngine
from wideresnet.graph import write_graph
from wideresnet.records import IMAGENET_MEAN, IMAGENET_STD, Preprocess


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(__file__).parent / "logits.npz") as logits:
        return dict(logits)


@pytest.mark.parametrize("name", TINY)
def test_the_graph_gives_the_stored_logits(stored, name):
    """Against float64 with batch norms unfolded (``regenerate_logits.py``); seen: 1.5e-7."""
    architecture = TINY[name]
    logits = graph_logits(architecture, tiny_images(3, architecture.input_size))
    np.testing.assert_allclose(logits, stored[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_the_module_gives_the_stored_logits(stored, name):
    pytest.importorskip("torch")
    architecture = TINY[name]
    logits = module_logits(architecture, tiny_images(3, architecture.input_size))
    np.testing.assert_allclose(logits, stored[name], rtol=0, atol=1e-5)


def test_stored_logits_tell_images_and_classes_apart(stored):
    """A golden value that would pass for anything proves nothing."""
    assert set(stored) == set(TINY)
    for logits in stored.values():
        assert logits.std(axis=0).max() > 1e-3
        assert logits.std(axis=1).min() > 0.1


@pytest.mark.slow
@needs_shared("oracle", "logits.npz")
@pytest.mark.parametrize("compute", ["graph", "module"])
@pytest.mark.parametrize("name", ["wide_resnet50_2", "wide_resnet101_2"])
def test_logits_equal_torchvisions_and_timms(name, compute):
    """Seen: graph 9.6e-7 (50-2) and 1.7e-6 (101-2), module 0, for both libraries; the logits' spread is 0.3 to 0.5."""
    if compute == "module":
        pytest.importorskip("torch")
    batch = np.load(SHARED / "oracle" / "batch_uint8_nhwc.npy")
    logits = {"graph": graph_logits, "module": module_logits}[compute](get_architecture(name), batch)
    with np.load(SHARED / "oracle" / "logits.npz") as oracle:
        for library in ("torchvision", "timm"):
            np.testing.assert_allclose(logits, oracle[f"{library}/{name}"], rtol=0, atol=1e-4, err_msg=library)


def graph_logits(architecture, batch):
    side = batch.shape[1]
    graph = write_graph(architecture, tiny_tensors(architecture), Preprocess(resize=side, crop=side))
    return OpenVinoEngine(graph.SerializeToString(), EngineOptions("f32"))(batch)


def module_logits(architecture, batch):
    import torch

    from wideresnet.models import create_model

    model = create_model(architecture).eval()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in tiny_tensors(architecture).items()})
    x = (torch.from_numpy(batch).float() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    with torch.inference_mode():
        return model(x.permute(0, 3, 1, 2)).numpy()
