"""Whitening is that of a plain computation, fitted to training images only."""

from __future__ import annotations

import numpy as np
import torch

from fakes import tiny_images
from wideresnet.training import whiten
from wideresnet.training.whiten import BIAS, fit_whitening, normalise_contrast

IMAGES = torch.from_numpy(tiny_images(300, 4))


def test_normalised_contrast_has_mean_0_and_a_fixed_norm() -> None:
    whitened = normalise_contrast(IMAGES)
    assert (whitened.shape, whitened.dtype) == ((300, 48), torch.float32)
    torch.testing.assert_close(whitened.mean(1), torch.zeros(300), atol=1e-4, rtol=0)
    torch.testing.assert_close(whitened.norm(dim=1), torch.full((300,), 55.0))
    assert not normalise_contrast(torch.full((1, 4, 4, 3), 77, dtype=torch.uint8)).any()


def test_whitened_training_images_have_hardly_any_covariance(monkeypatch) -> None:
    monkeypatch.setattr(whiten, "CHUNK", 70)
    whitened = fit_whitening(IMAGES)(IMAGES)
    assert (whitened.shape, whitened.dtype) == (IMAGES.shape, torch.float32)
    flat = normalise_contrast(IMAGES).double().numpy()
    flat -= flat.mean(0)
    values, axes = np.linalg.eigh(flat.T @ flat / len(flat))
    expected = flat @ (axes / np.sqrt(np.maximum(values, 0) + BIAS)) @ axes.T
    np.testing.assert_allclose(whitened.flatten(1).numpy(), expected, atol=2e-3)
    covariance = np.cov(whitened.flatten(1).numpy().T, bias=True)
    # The direction that the mean was taken out of has no variance left; all others have one.
    spread = np.linalg.eigvalsh(covariance)
    assert spread[0] < 1e-3
    np.testing.assert_allclose(spread[1:], 1, atol=0.05)


def test_each_image_is_whitened_independently() -> None:
    whitening = fit_whitening(IMAGES[:200])
    torch.testing.assert_close(whitening(IMAGES)[:200], whitening(IMAGES[:200]), atol=1e-4, rtol=1e-4)
