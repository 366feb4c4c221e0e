"""``wideresnet.evaluate`` runs a model with the settings of the command ``wrn evaluate``."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import wideresnet
from fakes import FakeEngine, tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.cli.main import app
from wideresnet.engines import EngineOptions
from wideresnet.engines.throughput import save_tuning
from wideresnet.errors import ConfigError
from wideresnet.records import InferenceSettings, Tuning
from wideresnet.tasks.evaluate import model as evaluation

TUNED = Tuning(batch=3, streams=2, threads=1, images_per_s=1.0, model="m", date="2026-01-02")
Run = tuple[EngineOptions | None, InferenceSettings, str]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))
    write_bundle(tmp_path / "tiny", tiny_bundle())
    return tmp_path / "tiny"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in tiny_bundle().labels.names[:2]:
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.fromarray(FakeEngine().image(3)).save(tmp_path / "val" / name / "a.png")
    return tmp_path / "val"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The options of the engine, batch size and EXIF of each evaluation."""
    recorded: list[Run] = []
    open_classifier, score = evaluation.open_classifier, evaluation.score

    def opening(bundle, engine, options):  # type: ignore[no-untyped-def]
        recorded.append((engine, options))
        return open_classifier(bundle, engine, options)

    def scoring(classifier, data, batch_size, mode, coverage):  # type: ignore[no-untyped-def]
        recorded.append((batch_size, data.exif, mode))
        return score(classifier, data, batch_size, mode=mode)

    monkeypatch.setattr(evaluation, "open_classifier", opening)
    monkeypatch.setattr(evaluation, "score", scoring)
    return recorded


@pytest.mark.parametrize("tuned", [False, True])
def test_python_and_the_command_open_and_feed_the_model_alike(
    tiny: Path, data: Path, runs: list[Run], tuned: bool
) -> None:
    if tuned:
        save_tuning(wideresnet.load(tiny).bundle, TUNED)
    done = CliRunner().invoke(app, ["evaluate", str(data), "-m", str(tiny)])
    assert done.exit_code == 0, done.output
    of_command = runs.copy()
    for evaluate in (wideresnet.load(tiny).evaluate, lambda path: wideresnet.evaluate(tiny, path)):
        runs.clear()
        assert evaluate(data).n == 2
        assert runs == of_command
    streams = 2 if tuned else 0
    assert runs == [
        ("openvino", EngineOptions("f32", tuned, "throughput", streams)), (3 if tuned else 8, "ignore", "async")
    ]  # fmt: skip


def test_a_model_that_was_loaded_with_streams_is_not_opened_again(tiny: Path, data: Path, runs: list[Run]) -> None:
    assert wideresnet.load(tiny, streams=2).evaluate(data).n == 2
    assert wideresnet.load(tiny, streams=2).evaluate(data, batch_size=5).n == 2
    assert runs == [(8, "ignore", "async"), (5, "ignore", "async")]


def test_a_bar_counts_the_images(tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wideresnet.load(tiny).evaluate(data, progress=True).n == 2
    assert "evaluating" in capsys.readouterr().err


# The streams of load


def test_streams_of_load(tiny: Path) -> None:
    assert wideresnet.load(tiny).engine.info.streams == 1
    assert wideresnet.load(tiny, streams=2, threads=2).engine.info.streams == 2
    save_tuning(wideresnet.load(tiny).bundle, TUNED)
    assert wideresnet.load(tiny, streams=0).options == EngineOptions("f32", 1, "throughput", 2)
    for arguments in ({"streams": -1}, {"streams": 2, "engine": "onnxruntime"}, {"streams": 0, "engine": "pytorch"}):
        with pytest.raises(ConfigError, match=r"the engine .* has no .* streams"):
            wideresnet.load(tiny, **arguments)  # type: ignore[arg-type]
