"""Who takes part in a benchmark, and what is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wideresnet.errors import ConfigError
from wideresnet.tasks.bench.options import BASELINES, BenchSettings, entries, options_of


def test_everything_is_crossed_once() -> None:
    settings = BenchSettings(
        engines=("openvino", "onnxruntime"), precisions=("f32", "int8"), batches=(1, 8), streams=(1, 2), threads=(2,)
    )
    found = entries("m", "fp32", settings)
    assert len(found) == len(set(found)) == 2 * 2 * 2 + 2 * 2, "ONNX Runtime has no streams to choose"


@pytest.mark.parametrize(("stored", "precision"), [("fp32", "f32"), ("fp16", "f32"), ("int8", "int8")])
def test_without_a_precision_it_is_the_stored_one(stored: Any, precision: str) -> None:
    assert [entry.precision for entry in entries("m", stored, BenchSettings())] == [precision]


def test_latency_is_of_one_image_in_one_stream_and_also_from_a_file_where_there_are_files() -> None:
    settings = BenchSettings(what=("latency",), batches=(8, 16), data=Path("photos"))
    found = entries("m", "fp32", settings)
    assert [(e.batch, e.sync, e.files) for e in found] == [(1, True, False), (1, True, True)]
    assert options_of(found[0]).hint == "latency"
    assert options_of(entries("m", "fp32", BenchSettings())[0]).hint == "throughput"


def test_baselines_are_set_beside_each_measurement_and_int8_only_when_asked() -> None:
    floats = entries("m", "fp32", BenchSettings(baselines=True))
    assert {(e.engine, e.precision) for e in floats} >= {p for p in BASELINES["engine"] if p[1] != "int8"}
    assert all(e.precision != "int8" for e in floats)
    both = entries("m", "fp32", BenchSettings(baselines=True, precisions=("f32", "int8")))
    assert ("openvino-stock", "int8") in {(e.engine, e.precision) for e in both}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"what": ("latenzy",)}, "no measurement called 'latenzy'"),
        ({"engines": ("tensorrt",)}, "no engine called 'tensorrt'"),
        ({"precisions": ("fp8",)}, "no precision called 'fp8'"),
        ({"batches": (0,)}, "a batch is at least 1"),
        ({"threads": (-1,)}, "at least 0"),
        ({"seconds": 0.0}, "more than 0"),
        ({"what": ("end-to-end",)}, "measured on image files"),
    ],
)
def test_what_does_not_exist_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BenchSettings(**settings)
