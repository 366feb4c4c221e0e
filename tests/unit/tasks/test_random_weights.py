"""Random weights behave like trained ones: activations keep their size down to the last layer."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import TINY, tiny_pictures
from wideresnet.engines import open_engine
from wideresnet.engines.base import EngineOptions
from wideresnet.engines.openvino import OpenVinoEngine
from wideresnet.records import Preprocess
from wideresnet.tasks.random_weights import random_bundle, random_model


@pytest.mark.parametrize("name", TINY)
def test_logits_are_finite_differ_between_pictures_and_do_not_explode(name: str) -> None:
    side = TINY[name].input_size
    bundle = random_bundle(TINY[name], Preprocess(side, side), tiny_pictures(4, side))
    logits = OpenVinoEngine(bundle.graph, EngineOptions())(tiny_pictures(8, side))
    assert np.isfinite(logits).all()
    assert 0.01 < logits.std() < 100
    assert (logits.std(axis=0) > 1e-4).any()


def test_the_same_seed_gives_the_same_model_and_another_one_another() -> None:
    arguments = TINY["wrn_10_1"], Preprocess(32, 32), tiny_pictures(4, 32)
    assert random_bundle(*arguments).graph == random_bundle(*arguments).graph
    assert random_bundle(*arguments).graph != random_bundle(*arguments, seed=1).graph


def test_the_card_says_that_it_has_learnt_nothing() -> None:
    bundle = random_model("wrn_10_1")
    assert (bundle.card.name, bundle.card.published) == ("wrn_10_1.random", ())
    assert "learnt nothing" in bundle.card.notes["weights"]
    assert open_engine(bundle)(tiny_pictures(1, 32)).shape == (1, 10)
