"""Whitening: what a plain computation gives, of training images alone."""

from __future__ import annotations

import numpy as np
import torch

from fakes import tiny_images
from wideresnet.training import whiten
from wideresnet.training.whiten import BIAS, contrasted, fit_whitening

IMAGES = torch.from_numpy(tiny_images(300, 4))


def test_a_contrasted_image_has_no_mean_and_one_length() -> None:
    found = contrasted(IMAGES)
    assert (found.shape, found.dtype) == ((300, 48), torch.float32)
    torch.testing.assert_close(found.mean(1), torch.zeros(300), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.full((300,), 55.0))
    assert not contrasted(torch.full((1, 4, 4, 3), 77, dtype=torch.uint8)).any(), "a plain image has no contrast"


def test_whitened_training_images_have_hardly_any_covariance(monkeypatch) -> None:
    monkeypatch.setattr(whiten, "TOGETHER", 70)
    found = fit_whitening(IMAGES)(IMAGES)
    assert (found.shape, found.dtype) == (IMAGES.shape, torch.float32)
    flat = contrasted(IMAGES).double().numpy()
    flat -= flat.mean(0)
    values, axes = np.linalg.eigh(flat.T @ flat / len(flat))
    expected = flat @ (axes / np.sqrt(np.maximum(values, 0) + BIAS)) @ axes.T
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=2e-3)
    covariance = np.cov(found.flatten(1).numpy().T, bias=True)
    # The direction that the mean was taken out of has no variance left; all others have one.
    spread = np.linalg.eigvalsh(covariance)
    assert spread[0] < 1e-3
    np.testing.assert_allclose(spread[1:], 1, atol=0.05)


def test_test_images_change_nothing_of_the_map() -> None:
    whitening = fit_whitening(IMAGES[:200])
    torch.testing.assert_close(whitening(IMAGES)[:200], whitening(IMAGES[:200]), atol=1e-4, rtol=1e-4)
