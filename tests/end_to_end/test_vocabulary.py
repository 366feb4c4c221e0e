"""One name and one unit for one thing in every command; others are understood, or answered with the right one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import wideresnet
from commands import Wrn
from fakes import tiny_bundle
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.cli.checks import RENAMED
from wideresnet.serve.settings import ServeSettings
from wideresnet.tasks.bench.options import BenchSettings
from wideresnet.tasks.finetune.settings import read_settings
from wideresnet.tasks.quantize.compile import CompileSettings
from wideresnet.tasks.zoo.buildfile import Backend
from wideresnet.training.recipe import Recipe


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("recommend --accuracy 0.8", "--accuracy 80"),
        ("recommend --accuracy 1", "--accuracy 100"),
        ("compile -o x --min-agreement 0.95", "--min-agreement 95"),
        ("classify x.png --coverage 0.9", "--coverage 90"),
        ("evaluate cifar10 --coverage 0.95", "--coverage 95"),
        ("classify x.png --coverage nan", "--coverage 95"),
        ("classify x.png --coverage 1", "--coverage 95"),
        ("classify x.png --coverage 0", "--coverage 95"),
        ("classify x.png --coverage 99.95", "--coverage 95"),
    ],
)
def test_a_fraction_where_a_percentage_belongs_is_refused(wrn: Wrn, command: str, hint: str) -> None:
    done = wrn(*command.split())
    assert (done.code, done.out) == (2, "")
    assert "takes a percentage" in done.err
    assert done.err.endswith(f"hint:  {hint}\n")
    assert not Path("x").exists()


def test_every_option_of_an_earlier_version_is_answered_with_one_that_exists(wrn: Wrn) -> None:
    for old, new in RENAMED.items():
        command = ("finetune", "--data", "x", "-o", "y") if old == "--share" else ("bench",)
        done = wrn(*command, old)
        assert (done.code, done.err) == (2, f"error: no option {old}\nhint:  use {new}\n")
        assert new.split()[0] in wrn(command[0], "--help").out


@pytest.mark.parametrize("spelling", ["bf16", "bfloat16"])
def test_a_synonym_of_a_precision_is_the_precision(wrn: Wrn, tiny: Path, photos: Path, spelling: str) -> None:
    """Only a CPU without bf16 says f32 instead, for both."""
    ran = wrn("embed", photos, "-m", tiny, "-o", "x.npy", "--precision", spelling, "--format", "json").json
    assert ran["precision"] in ("bf16", "f32")
    assert wrn("classify", photos, "-m", tiny, "--precision", "float32").code == 0
    done = wrn("classify", photos, "-m", tiny, "--precision", "half")
    assert (done.code, "'half' is not one of 'f32', 'bf16'" in done.err) == (2, True)


@pytest.mark.parametrize("spelling", ["f16", "fp16", "float16", "half"])
def test_the_stored_precision_has_one_name_in_words_and_the_old_one_on_cards(
    wrn: Wrn, tiny: Path, spelling: str
) -> None:
    done = wrn("export", "-m", tiny, "--storage", spelling, "-o", "half")
    assert ", f16, " in done.out
    assert read_bundle(Path("half")).card.precision == "fp16"
    compiled = wrn("compile", "-m", tiny, "--precision", spelling, "--gate", "none", "-o", "compiled")
    assert compiled.out.startswith("compiled: f16, ")
    assert read_bundle(Path("compiled")).card.precision == "fp16"


def test_recipes_build_files_benchmarks_and_python_understand_the_synonyms(tiny: Path) -> None:
    assert read_settings(None, {"mode": "full", "precision": "float32"}).recipe == {"precision": "float32"}
    assert Recipe(architecture="wrn_10_1", epochs=1, learning_rate=0.1, precision="bfloat16").precision == "bf16"
    assert BenchSettings(precisions=("fp32", "bfloat16")).precisions == ("f32", "bf16")
    assert Backend(dtype="f16").dtype == "fp16"
    assert ServeSettings(precision="float32").precision == "f32"
    assert CompileSettings("half").precision == "fp16"
    assert wideresnet.load(str(tiny), precision="float32").engine.info.precision == "f32"


@pytest.mark.parametrize("command", ["classify photos", "embed photos -o x.npy", "explain photos -o maps"])
def test_bf16_on_a_model_in_int8_is_refused(
    wrn: Wrn, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    bundle = tiny_bundle()
    write_bundle(Path("tiny"), bundle)
    opened = replace(bundle, card=replace(bundle.card, precision="int8"))
    monkeypatch.setattr("wideresnet.tasks.load.load.load_bundle", lambda *_: opened)
    done = wrn(*command.split(), "-m", "tiny", "--precision", "bf16")
    assert (done.code, "is stored in int8 and cannot run in bf16" in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    "command",
    [
        "classify x", "evaluate x", "compare a b", "explain x", "embed x -o y", "compile -o y", "bench", "identify x",
        "serve",
    ],
)  # fmt: skip
def test_inference_is_on_the_cpu_and_another_device_is_refused(wrn: Wrn, command: str) -> None:
    done = wrn(*command.split(), "--device", "cuda")
    assert (done.code, done.err) == (
        2, "error: no device 'cuda' for inference: there is only cpu\nhint:  leave out --device\n",
    )  # fmt: skip
    assert "cpu: inference has no other device" in wrn(command.split()[0], "--help").out
