"""``wrn bench``: one JSON document with the documented names, whatever was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import tiny_bundle
from wideresnet.bundle import write_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"
ROW = {
    "what", "engine", "precision", "batch", "streams", "threads", "images_per_s", "p50_ms", "p95_ms", "p99_ms",
    "peak_share", "rss_mb", "n",
}  # fmt: skip


def wrn(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wideresnet", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    write_bundle(made / "tiny", tiny_bundle())
    return made


def test_a_short_run_prints_one_document_with_the_documented_names(folder: Path) -> None:
    done = wrn(
        folder, "bench", "-m", "tiny", "--iterations", "2", "--rounds", "1", "--batch-size", "2",
        "--format", "json", "--report", "page.html", "-o", "speed.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert json.loads((folder / "speed.json").read_text()) == found
    assert {"machine", "peak", "rows"} <= set(found)
    assert set(found["peak"]) == {"f32", "bf16", "int8"}
    assert found["peak"]["f32"] > 0
    (row,) = found["rows"]
    assert set(row) >= ROW
    assert (row["what"], row["engine"], row["precision"], row["batch"], row["n"]) == ("engine", "openvino", "f32", 2, 2)
    assert row["images_per_s"] > 0
    assert row["peak_share"] > 0
    assert row["rss_mb"] > 20
    page = (folder / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.slow
def test_every_measurement_has_its_rows_and_a_profile(folder: Path) -> None:
    done = wrn(
        folder, "bench", "-m", "tiny", "--what", "engine", "--what", "end-to-end", "--what", "latency",
        "--data", str(EXAMPLES), "--iterations", "4", "--rounds", "2", "--batch-size", "2", "--fast-decode",
        "--profile", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    kinds = [(row["what"], row["note"]) for row in found["rows"]]
    assert kinds == [
        ("engine", ""), ("end-to-end", ""), ("end-to-end", "fast decode"),
        ("latency", "engine alone"), ("latency", "from an image's bytes"),
    ]  # fmt: skip
    for row in found["rows"]:
        assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    (profile,) = found["profiles"]
    assert {layer["kind"] for layer in profile["layers"]} > {"Convolution"}
    assert list(profile["stages_ms"]) == ["read", "decode", "resize and crop", "stack", "engine", "top k", "write"]


@pytest.mark.slow
def test_starts_and_several_engines_and_precisions_are_measured(folder: Path) -> None:
    done = wrn(
        folder, "bench", "-m", "tiny", "--what", "startup", "--what", "engine", "--iterations", "2",
        "--engine", "openvino,onnxruntime,pytorch", "--precision", "f32,int8", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert {row["note"].partition(";")[0] for row in rows if row["what"] == "startup"} == {
        "compiled model cached", "no cache of compiled models",
    }  # fmt: skip
    assert {"openvino", "onnxruntime", "pytorch"} <= {row["engine"] for row in rows}
    assert {row["precision"] for row in rows} >= {"f32", "int8"}


def test_end_to_end_needs_images(folder: Path) -> None:
    done = wrn(folder, "bench", "-m", "tiny", "--what", "end-to-end")
    assert (done.returncode, done.stdout) == (2, "")
    assert "image files" in done.stderr
