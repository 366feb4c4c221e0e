"""The candidates that settings select, and settings that are rejected before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wideresnet.errors import ConfigError
from wideresnet.tasks.bench.options import BenchSettings, entries, options_of


def test_everything_is_crossed_once() -> None:
    settings = BenchSettings(
        engines=("openvino", "onnxruntime"), precisions=("f32", "int8"), batches=(1, 8), streams=(1, 2), threads=(2,)
    )
    selected = entries("m", "fp32", settings)
    assert len(selected) == len(set(selected)) == 2 * 2 * 2 + 2 * 2, "ONNX Runtime has no streams to choose"


@pytest.mark.parametrize(("stored", "precision"), [("fp32", "f32"), ("fp16", "f32"), ("int8", "int8")])
def test_without_a_precision_it_is_the_stored_one(stored: Any, precision: str) -> None:
    assert [entry.precision for entry in entries("m", stored, BenchSettings())] == [precision]


def test_latency_is_of_one_image_in_one_stream_and_also_from_a_file_where_there_are_files() -> None:
    settings = BenchSettings(measurements=("latency",), batches=(8, 16), data=Path("photos"))
    selected = entries("m", "fp32", settings)
    assert [(e.batch, e.sync, e.files) for e in selected] == [(1, True, False), (1, True, True)]
    assert options_of(selected[0]).hint == "latency"
    assert options_of(entries("m", "fp32", BenchSettings())[0]).hint == "throughput"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measurements": ("latenzy",)}, "no measurement called 'latenzy'"),
        ({"engines": ("tensorrt",)}, "no engine called 'tensorrt'"),
        ({"precisions": ("fp8",)}, "no precision called 'fp8'"),
        ({"batches": (0,)}, "a batch is at least 1"),
        ({"threads": (-1,)}, "at least 0"),
        ({"seconds": 0.0}, "more than 0"),
        ({"seconds": float("inf")}, "and finite"),
        *(({name: ()}, "nothing is measured") for name in ("measurements", "engines", "batches", "streams", "threads")),
        ({"measurements": ("end-to-end",)}, "measured on image files"),
    ],
)
def test_what_does_not_exist_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BenchSettings(**settings)
