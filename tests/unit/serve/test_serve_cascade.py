"""Cascades are served where their members take the same crop, and refused at the start otherwise."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fakes import TINY, tiny_bundle, tiny_cascade, tiny_images
from serving import open_model
from wideresnet.bundle import Bundle, write_bundle
from wideresnet.bundle.derive import as_float32, with_preprocess
from wideresnet.engines import open_engine
from wideresnet.errors import ConfigError
from wideresnet.serve.app import make_app
from wideresnet.serve.models import open_models
from wideresnet.serve.service import Service
from wideresnet.serve.settings import make_settings


def open_one(folder: Path, bundle: Bundle) -> np.ndarray:
    write_bundle(folder, bundle)
    (worker,) = open_models(make_settings({"models": [f"c={folder}"]}), lambda _: None).values()
    return worker.classifier.logits(tiny_images(9, 32))


def test_a_cascade_of_one_crop_is_served_and_others_are_refused(tmp_path: Path) -> None:
    cascade = tiny_cascade(thresholds=(0.95,))
    np.testing.assert_array_equal(open_one(tmp_path / "c", cascade), open_engine(cascade)(tiny_images(9, 32)))
    first = tiny_bundle(TINY["wrn_10_1"])
    small = as_float32(with_preprocess(first, replace(first.card.preprocess, resize=24, crop=24)))
    with pytest.raises(ConfigError, match="take different crops: the service makes one of an image"):
        open_one(tmp_path / "d", tiny_cascade(small, tiny_bundle(TINY["wrn_16_2"])))


def test_maps_of_a_cascade_are_refused(make_service: Callable[..., Service]) -> None:
    service, cascade = make_service(), tiny_cascade()
    service.set_models({"c": open_model(cascade, open_engine(cascade))})
    file = io.BytesIO()
    Image.fromarray(tiny_images(1, 32)[0]).save(file, "PNG")
    with TestClient(make_app(service)) as client:
        done = client.post("/v1/explain", content=file.getvalue())
        answer = client.post("/v1/classify?k=1", content=file.getvalue()).json()
    assert (done.status_code, done.json()["detail"]) == (422, "no maps of wrn_10_1.tiny: it is a cascade")
    best = open_engine(cascade)(tiny_images(1, 32)).argmax()
    assert answer["results"][0]["predictions"][0]["index"] == best
