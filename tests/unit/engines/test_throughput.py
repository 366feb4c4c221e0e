"""What was tuned is found again by the same model on the same machine, and by no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fakes import tiny_bundle
from wideresnet.engines import EngineOptions
from wideresnet.engines import throughput as tuning
from wideresnet.engines.throughput import BATCH, find_tuning, save_tuning, throughput_options, tuning_file
from wideresnet.errors import ConfigError
from wideresnet.records import Tuning

TUNED = Tuning(batch=4, streams=2, threads=3, images_per_s=100.0, model="m", date="2026-01-02")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_found_again(cache: Path) -> None:
    bundle = tiny_bundle()
    assert find_tuning(bundle) is None
    assert save_tuning(bundle, TUNED).is_relative_to(cache)
    assert find_tuning(bundle) == TUNED


def test_another_model_resolution_or_machine_does_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle()
    save_tuning(bundle, TUNED)
    assert find_tuning(replace(bundle, graph=b"another")) is None
    assert find_tuning(replace(bundle, card=replace(bundle.card, precision="int8"))) is None
    assert find_tuning(replace(bundle, card=replace(bundle.card, preprocess=bundle.card.preprocess.at(64)))) is None
    monkeypatch.setattr(tuning, "available_cpus", lambda: 1000)
    assert find_tuning(bundle) is None


@pytest.mark.parametrize("text", ["", "[]", '{"batch": 1}', '{"another": "version"}'])
def test_a_file_that_cannot_be_read_is_none(text: str) -> None:
    file = tuning_file(tiny_bundle())
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert find_tuning(tiny_bundle()) is None


def test_many_images_go_as_tuned_or_in_several_streams() -> None:
    bundle = tiny_bundle()
    assert throughput_options(bundle, "f32") == (EngineOptions("f32", 0, "throughput"), BATCH)
    save_tuning(bundle, TUNED)
    assert throughput_options(bundle, "f32") == (EngineOptions("f32", 3, "throughput", 2), 4)
    # The user's own wish, and another arithmetic, were not tuned.
    assert throughput_options(bundle, "f32", threads=1) == (EngineOptions("f32", 1, "throughput"), BATCH)
    assert throughput_options(bundle, "bf16") == (EngineOptions("bf16", 0, "throughput"), BATCH)


def test_a_cache_that_cannot_be_written_is_an_error_with_its_name(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cannot write"):
        save_tuning(tiny_bundle(), TUNED)
