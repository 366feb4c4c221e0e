"""The command line: one JSON document on stdout, failures on stderr, exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import wideresnet
from commands import Done, Wrn
from fakes import FakeEngine, tiny_cifar_archive
from wideresnet.bundle import read_bundle
from wideresnet.datasets import open as opening
from wideresnet.datasets.cifar import read_cifar10
from wideresnet.errors import EngineError
from wideresnet.records import Prediction
from wideresnet.tasks.train import train as training

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPE = """
architecture = "wrn_10_1"
epochs = 2
batch_size = 10
learning_rate = 0.05
ema = 0.5
sizes = [[0, 16]]
"""


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A fresh Python."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WRN_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


# models, info


def test_models_lists_every_network(wrn: Wrn) -> None:
    done = wrn("models")
    assert (done.code, done.err) == (0, "")
    assert "wide_resnet50_2.racm_in1k@288" in done.out
    assert len(wrn("models", "--format", "json").json) == sum(" M " in line for line in done.out.splitlines())


def test_info_prints_the_documented_fields(wrn: Wrn) -> None:
    found = wrn("info", "wide_resnet101_2.tv_in1k", "--format", "json").json
    assert (found["parameters"], found["flops"]) == (126_886_696, 2 * found["macs"])
    assert found["preprocess"]["resize"] == 256
    assert found["published"][0]["top1"] == 78.848


def test_info_of_an_architecture_and_of_a_bundle(wrn: Wrn, tiny: Path) -> None:
    assert "36,536,884" in wrn("info", "WRN-28-10", "--classes", "100").out
    assert wrn("info", tiny, "--format", "json").json["where"] == "here"


def test_the_embedded_model_is_the_first_of_models(wrn: Wrn) -> None:
    assert wrn("models", "--format", "json").json[0]["name"] == "wrn_16_4.cifar10"


# classify


def test_classify_answers_for_folders_and_files(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("classify", photos, "-m", tiny, "-k", "3", "--format", "json")
    assert (done.code, done.notes) == (0, f"passed over 1 file in {photos}: 1 .txt\n")
    assert [answer["path"] for answer in done.json] == [f"{photos}/a.png", f"{photos}/inner/b.jpg"]
    for answer in done.json:
        assert set(answer) == {"path", "predictions"}
        assert [set(p) for p in answer["predictions"]] == [{"index", "label", "probability"}] * 3


def test_a_bad_image_is_listed_and_the_exit_code_is_1(wrn: Wrn, tiny: Path, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    done = wrn("classify", photos, "-m", tiny, "--format", "json")
    assert done.code == 1
    by_path = {Path(answer["path"]).name: answer for answer in done.json}
    assert set(by_path["broken.png"]) == {"path", "error", "hint"}
    assert "predictions" in by_path["a.png"]
    assert f"{photos}/broken.png: " in done.err
    table = wrn("classify", photos, "-m", tiny)
    assert (table.code, "broken" in table.out, "broken" in table.err) == (1, False, True)


def test_a_dash_reads_a_image_from_stdin(wrn: Wrn, tiny: Path, photos: Path) -> None:
    image = (photos / "a.png").read_bytes()
    piped = wrn("classify", "-", "-m", tiny, "--format", "json", stdin=image)
    named = wrn("classify", photos / "a.png", "-m", tiny, "--format", "json")
    assert piped.json[0]["path"] == "-"
    assert piped.json[0]["predictions"] == named.json[0]["predictions"]
    assert wrn("classify", "-", "-m", tiny, "--format", "json", stdin=b"").code == 2


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv", "parquet"])
def test_an_output_file_leaves_stdout_empty(wrn: Wrn, tiny: Path, photos: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    done = wrn("classify", photos, "-m", tiny, "--format", format, "-o", "answers")
    assert (done.code, done.out) == (0, "")
    assert Path("answers").stat().st_size > 0


def test_parquet_on_stdout_is_an_error_with_a_hint(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("classify", photos, "-m", tiny, "--format", "parquet")
    assert (done.code, done.out) == (2, "")
    assert "-o" in done.err


def test_the_batch_size_changes_no_answer(wrn: Wrn, tiny: Path, photos: Path) -> None:
    def labels(*more: str) -> list[str]:
        answers = wrn("classify", photos, "-m", tiny, "--format", "json", *more).json
        return [score["label"] for answer in answers for score in answer["predictions"]]

    assert labels() == labels("--batch-size", "1")


def test_another_resolution_is_used_and_kept_in_the_card(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("compile", "-m", tiny, "--precision", "fp16", "--resolution", "48", "-o", "larger")
    assert done.code == 0, done.err
    card = read_bundle(Path("larger")).card
    assert (card.preprocess.resize, card.preprocess.crop, card.published) == (48, 48, ())
    asked = wrn("classify", photos, "-m", tiny, "--resolution", "48", "--format", "json").json
    made = wrn("classify", photos, "-m", "larger", "--format", "json").json
    plain = wrn("classify", photos, "-m", tiny, "--format", "json").json
    assert [a["predictions"][0]["label"] for a in asked] == [m["predictions"][0]["label"] for m in made]
    assert asked != plain


def test_the_default_job_names_what_is_in_the_examples(wrn: Wrn) -> None:
    done = wrn("classify", EXAMPLES, "--format", "json")
    assert done.code == 0
    best = {Path(answer["path"]).stem: answer["predictions"][0]["label"] for answer in done.json}
    assert best["cat"] == "cat"


def test_resuming_a_whole_file_ends_as_its_run_did(wrn: Wrn, tiny: Path, photos: Path) -> None:
    arguments = ("classify", photos, "-m", tiny, "--format", "jsonl", "-o", "out", "--resume")
    assert wrn(*arguments).code == 0
    done = wrn(*arguments)
    assert done.code == 0
    assert done.err == "out is complete: nothing is left to do, whatever model and images it was made from\n"
    (photos / "broken.png").write_bytes(b"no image")
    assert [wrn(*arguments[:-1]).code, wrn(*arguments).code] == [1, 1]


def test_only_the_same_command_is_gone_on_with(
    wrn: Wrn, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_all: object, **_more: object) -> Iterator[Prediction]:
        yield Prediction("photos/a.png", ())
        raise EngineError("the engine stopped")

    with monkeypatch.context() as patch:
        patch.setattr("wideresnet.tasks.classify.classify.classify", stopping)
        stopped = wrn("classify", "photos", "-m", tiny, "-o", "out")
    assert stopped.code == 2
    assert "the answers so far are in out.part: --resume continues" in stopped.err
    assert "an unfinished run is in out.part" in wrn("classify", "photos", "-m", tiny, "-o", "out").err
    for other, said in {
        ("photos", "-m", str(tiny), "-k", "2"): "its k is 5, this run's is 2",
        ("photos/inner", "-m", str(tiny)): "its folders is ['photos'], this run's is ['photos/inner']",
        ("photos", "-m", "wrn_16_4.cifar10"): "its model is 'wrn_10_1.tiny'",
        ("photos", "-m", str(tiny), "--format", "csv"): "its format is 'table'",
        ("photos", "-", "-m", str(tiny)): "standard input cannot be resumed",
    }.items():
        done = wrn("classify", *other, "-o", "out", "--resume")
        assert (done.code, said in done.err) == (2, True), done.err
    assert wrn("classify", "photos", "-m", tiny, "-o", "out", "--resume").code == 0


# What is wrong is two lines on stderr and exit code 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info", "wide_resnet50_2.tv1_in1k"], "did you mean 'wide_resnet50_2.tv"),
        (["classify", "photos", "-m", "wrn_16_4.cifar1"], "did you mean 'wrn_16_4.cifar10'?"),
        (["classify", "photos", "-m", "wide_resnet50_2.tv_in1k"], "offline mode is on"),
        (["classify", "absent.png", "-m", "tiny"], "no such file or directory: 'absent.png'"),
        (["classify", "photos", "-m", "absent.pth"], "no model at absent.pth"),
        (["classify", "photos", "-m", "photos/notes.txt"], "no weights file"),
        (["evaluate", "absent", "-m", "tiny"], "no such file or directory: 'absent'"),
        (["evaluate", "photos/notes.txt", "-m", "tiny"], "not labelled data"),
        (["export", "-m", "tiny", "-o", "photos"], "is no bundle"),
        (["train", "absent.toml", "--data", "photos"], "no recipe called 'absent', and no file absent.toml"),
        (["classify", "photos", "--engine", "tensorrt"], "tensorrt"),
        (["classify", "a" * 300 + ".jpg"], "File name too long"),
        (["info", "a" * 300], "File name too long"),
        (["classify"], "Missing argument"),
        (["clasify"], "clasify"),
    ],
)
def test_an_error_says_what_is_wrong_and_exits_with_2(
    wrn: Wrn, tiny: Path, photos: Path, arguments: list[str], said: str
) -> None:
    done = wrn(*arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_missing_path_is_refused_before_anything_is_written(wrn: Wrn, tiny: Path, photos: Path, format: str) -> None:
    done = wrn("classify", photos, "absent.png", "-m", tiny, "--format", format)
    assert (done.code, done.out) == (2, "")


# evaluate, export, train


def test_evaluate_prints_the_documented_fields(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    names = read_bundle(tiny).labels.names
    for label in (0, 9):
        (tmp_path / "val" / names[label]).mkdir(parents=True)
        Image.fromarray(FakeEngine().image(label)).save(tmp_path / "val" / names[label] / "a.png")
    done = wrn("evaluate", "val", "-m", tiny, "--format", "json")
    assert (done.code, done.notes, done.json["n"]) == (0, "", 2)
    promised = "top1 top5 n correct1 correct5 failures interval95 seconds engine precision"
    assert set(promised.split()) <= done.json.keys()
    assert (done.json["engine"], done.json["precision"]) == ("openvino", "f32")
    (tmp_path / "val" / names[0] / "broken.png").write_bytes(b"no image")
    broken = wrn("evaluate", "val", "-m", tiny, "--format", "json")
    assert (broken.code, broken.json["n"], len(broken.json["failures"])) == (1, 2, 1)
    assert "broken.png" in broken.err


def test_export_writes_a_bundle_that_opens(wrn: Wrn, tiny: Path) -> None:
    done = wrn("export", "-m", tiny, "-o", "copy", "--format", "json")
    assert done.json["card"]["name"] == "wrn_10_1.tiny"
    assert read_bundle(Path("copy")).graph == read_bundle(tiny).graph


@pytest.mark.usefixtures("one_thread")
def test_train_then_export_then_classify_and_evaluate(
    wrn: Wrn, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(training.READERS, "cifar10", partial(read_cifar10, verify=False))
    monkeypatch.setattr(opening, "open_labelled", partial(opening.open_labelled, verify=False))
    archive = tiny_cifar_archive(tmp_path / "data", rows=10)
    (tmp_path / "short.toml").write_text(RECIPE)
    done = wrn("train", "short.toml", "--data", archive, "--set", "seed=3", "--format", "json")
    assert (done.code, done.json["run"], done.json["epochs"]) == (0, "runs/short", 2)
    written = {path.name for path in Path("runs/short").iterdir()}
    assert written == {"recipe.toml", "data.json", "checkpoint.pt", "log.jsonl", "curves.html", "model.safetensors"}
    assert [json.loads(line)["epoch"] for line in Path("runs/short/log.jsonl").read_text().splitlines()] == [0, 1]

    again = wrn("train", "runs/short/recipe.toml", "--data", archive, "-o", "runs/short")
    assert again.code == 0, "the recipe in the run folder is the run's"
    other = wrn("train", "short.toml", "--data", archive)
    assert (other.code, "another recipe; different: seed" in other.err) == (2, True)

    assert wrn("export", "-m", "runs/short/model.safetensors", "--storage", "fp16", "-o", "mine").code == 0
    card = read_bundle(Path("mine")).card
    assert (card.name, card.precision, card.notes["epochs"], card.notes["seed"]) == (
        "wrn_10_1.cifar10", "fp16", "2", "3",
    )  # fmt: skip
    assert len(wrn("classify", photos, "-m", "mine", "--format", "json").json) == 2
    report = wrn("evaluate", archive, "-m", "mine", "--format", "json").json
    assert (report["data"], report["n"]) == ("cifar10 test", 10)


def test_a_change_without_a_value_is_an_error(wrn: Wrn, tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(RECIPE)
    done = wrn("train", "short.toml", "--data", ".", "--set", "seed")
    assert (done.code, "--set takes key=value" in done.err) == (2, True)


# The process


@pytest.mark.parametrize(
    ("package", "command", "sentence", "extra"),
    [
        ("onnxruntime", "classify PHOTOS -m TINY --engine onnxruntime", "needs onnxruntime", "onnxruntime"),
        ("torch", "classify PHOTOS -m TINY --engine pytorch", "needs torch", "train"),
        ("torch", "train a.toml --data .", "training needs torch", "train"),
        ("torch", "export -m TINY --format timm -o x.pth", "a .pth file needs torch", "train"),
        ("pyarrow", "classify PHOTOS -m TINY --format parquet -o x", "needs pyarrow", "parquet"),
        ("uvicorn", "serve -m TINY --port 0", "needs uvicorn", "serve"),
    ],
    ids=["onnxruntime", "pytorch", "train", "export", "parquet", "serve"],
)
def test_a_missing_extra_is_one_sentence_with_the_install_line(
    package: str, command: str, sentence: str, extra: str, tiny: Path, photos: Path
) -> None:
    code = f"import sys; sys.modules[{package!r}] = None\nfrom wideresnet.cli.main import run; run()"
    named = {"PHOTOS": photos, "TINY": tiny, "x": photos / "x"}
    done = python(code, *(named.get(word, word) for word in command.split()))
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert f"pip install 'wideresnet[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["models"], ["classify", "PHOTOS", "-m", "TINY", "--format", "csv"]])
def test_a_reader_that_goes_away_is_no_error_of_ours(arguments: list[str], tiny: Path, photos: Path) -> None:
    named = {"PHOTOS": str(photos), "TINY": str(tiny)}
    command = [sys.executable, "-m", "wideresnet", *(named.get(word, word) for word in arguments)]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, Done(141, "", done.stderr).notes) == (141, "")


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "wideresnet", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{wideresnet.__version__}\n", "")


# compile


def test_compile_without_labels_is_judged_by_agreement(wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("compile", "-m", tiny, "--precision", "fp16", "--data", photos, "-o", tmp_path / "half")
    done = wrn(*arguments, "--format", "json")
    assert (done.code, done.json["gate"]["verdict"], done.json["gate"]["images_needed"]) == (1, "undecided", 73)
    assert done.json["gate"]["kind"] == "agreement"
    assert (done.json["gate"]["drop"], done.json["gate"]["n"]) == (None, 2)
    shown = wrn(*arguments, "--report", tmp_path / "page.html")
    assert "not accuracy" in shown.out
    assert "not accuracy" in (tmp_path / "page.html").read_text("utf-8")


def test_compile_over_the_gate_ends_with_one(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    for label in ("cat", "ship"):
        (tmp_path / "val" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32), "red").save(tmp_path / "val" / label / "a.png")
    arguments = ("compile", "-m", tiny, "--precision", "fp16", "--data", tmp_path / "val", "-o", tmp_path / "half")
    assert wrn(*arguments, "--gate", "-50").code == 2
    done = wrn(*arguments, "--format", "json")
    assert (done.code, done.json["gate"]["verdict"], done.json["gate"]["passed"]) == (1, "undecided", False)
    assert done.err.count("the gate is undecided (exit code 1): give 1,917 images with --data") == 1
    card = read_bundle(tmp_path / "half").card
    assert card.gate
    assert not card.gate.passed
    assert card.notes["gate"].startswith("undecided: no loss above 0.2 points was seen")
    assert "undecided: no loss above 0.2 points" in wrn("info", tmp_path / "half").out
    assert wrn(*arguments, "--gate", "100").code == 0
    done = wrn(*arguments, "--gate", "none", "--format", "json")
    assert (done.code, done.json["gate"]["limit"]) == (0, None)
    assert read_bundle(tmp_path / "half").card.notes["gate"] == "none was requested"


def test_compile_says_what_is_wrong(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    wrong = {
        ("--gate", "little"): "--gate takes percentage points from 0 to 100, or none",
        ("--precision", "fp16", "--search"): "--search needs int8 and a gate",
        ("--calibration", str(tmp_path / "none"), "--data", str(tmp_path)): "no calibration images",
    }
    for options, message in wrong.items():
        done = wrn("compile", "-m", tiny, "-o", tmp_path / "x", *options)
        assert done.code == 2
        assert message in done.err
    assert "no folder to write" in wrn("compile", "-m", tiny).err


def test_compile_reads_a_build_file(wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path) -> None:
    build = tmp_path / "build.yaml"
    build.write_text(f"""
name: made
frontend: {{checkpoint: {tiny}/model.onnx}}
backend: {{dtype: fp16, quantize: {{calibrate_mode: kl_divergence}}}}
dataset: {{path: {photos}, process_ops: [{{type: Resize, size: 40}}, {{type: CenterCrop, crop_size: 32}}]}}
workspace: {{path: {tmp_path}/out}}
""")
    done = wrn("compile", build)
    assert done.code == 0
    assert "backend.quantize.calibrate_mode has no meaning here and is ignored" in done.err
    card = read_bundle(tmp_path / "out" / "made-fp16").card
    assert (card.precision, card.preprocess.resize) == ("fp16", 40)
