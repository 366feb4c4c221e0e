"""Every option takes effect or is refused with the reason: none is dropped without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Wrn

RECIPE = """
architecture = "wrn_10_1"
data = "cifar10"
epochs = 1
learning_rate = 0.1
"""
BUILD = """
name: made
frontend: {checkpoint: tiny}
backend: {dtype: int8, quantize: {calibrate_mode: max}}
dataset: {path: photos, process_ops: [{type: Resize, size: 40}, {type: CenterCrop, crop_size: 32}]}
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        # Of a cluster, and on one.
        ("serve --poll 3", "--poll has no effect without --models"),
        ("serve --versions 2 --poll 5", "--versions, --poll have no effect without --models"),
        ("serve --ray local --models photos", "--models has no effect with --ray"),
        ("classify photos --workers 2", "--workers has no effect without --ray"),
        ("classify photos --cpus 0 --shard-size 9", "--cpus, --shard-size have no effect without --ray"),
        ("evaluate photos --workers 2", "--workers has no effect without --ray"),
        ("embed photos -o a.npy --pool mean", "--pool has no effect on features, which have no positions"),
        ("embed photos -o a.npy --cpus 1", "--cpus has no effect without --ray"),
        ("classify photos --ray local -o out --infer-mode sync", "--infer-mode has no effect as --ray writes Parquet"),
        ("classify photos --ray local -o out --threads 2", "--threads has no effect with --ray"),
        ("evaluate photos --ray local -o out --shard 1/2", "--shard has no effect as --ray writes"),
        ("classify photos --ray local -o out --format csv", "--format has no effect as --ray writes Parquet"),
        ("embed photos --ray local -o out --threads 2", "set the threads of a worker with --cpus"),
        # Where nothing runs.
        ("evaluate --results r.txt --outputs o", "--outputs has no effect beside --results"),
        ("evaluate photos --results r.txt --shard 1/2", "--shard has no effect on answers, all of which are scored"),
        ("evaluate --results r.txt --shard 1/2", "--shard has no effect without DATA"),
        ("evaluate --results r.txt --labels-file t.txt", "--labels-file has no effect without DATA"),
        ("evaluate --results r.txt --engine onnxruntime", "--engine has no effect with --results or --outputs"),
        ("evaluate --results r.txt --normalise half", "--normalise has no effect with --results or --outputs"),
        ("evaluate --results r.txt -m wide_resnet50_2.tv_in1k --which ema", "and states what --which would say"),
        ("evaluate photos --outputs o --batch-size 8", "--batch-size has no effect with --results or --outputs"),
        ("evaluate photos --outputs o --ray local", "--ray has no effect with --results or --outputs"),
        ("compare a.csv b.csv --threads 2", "--threads has no effect on files of scores"),
        ("compare a.csv b.csv --batch-size 2", "--batch-size has no effect on files of scores"),
        ("compare a.csv b.csv --data photos --labels cifar10", "--data has no effect on files of scores without --rep"),
        ("compare tiny tiny --data photos --labels cifar10", "--labels has no effect on two models"),
        ("evaluate photos --tolerance 0.1 --limit 9", "--limit, --tolerance have no effect without --published"),
        ("evaluate photos --published --tolerance 0.1 --limit 9", "--tolerance has no effect beside --limit"),
        # Of what is not drawn or asked for.
        ("evaluate photos --lang zh", "--lang has no effect without --report"),
        ("explain photos -k 3 --class cat -o maps", "--top-k has no effect beside --class"),
        ("explain photos --signed --format json", "--signed has no effect without -o or --report"),
        # Compiling.
        ("compile -o x --budget 5", "--budget has no effect without --search"),
        ("compile -o x --precision fp16 --samples 300", "--samples has no effect with f16"),
        ("compile -o x --precision fp32 --calibration photos", "--calibration has no effect with f32"),
        ("compile -o x --precision fp16 --estimator max", "--estimator has no effect with f16"),
        ("compile -o x --precision fp16 --gate 0.5", "--gate has no effect without --data"),
        ("compile -o x --precision fp16 --min-agreement 90", "--min-agreement has no effect without --data"),
        ("compile -o x --gate none --min-agreement 90", "--min-agreement has no effect with --gate none"),
        ("compile build.yaml --precision fp16", "--precision has no effect beside build.yaml, which sets it"),
        ("compile build.yaml --model tiny --samples 9", "--model, --samples have no effect beside build.yaml"),
        ("compile build.yaml --calibration photos", "--calibration has no effect beside build.yaml"),
        ("compile build.yaml --estimator mse", "--estimator has no effect beside build.yaml"),
        ("compile build.yaml --resolution 64", "--resolution has no effect beside build.yaml"),
        ("compile -m tiny -o x --precision fp16 --data photos --gate 0.5", "a gate of accuracy is requested"),
        # Benchmarks.
        ("bench --what latency --batch-size 8", "--batch-size has no effect on latency: one image at a time"),
        ("bench --what startup --streams 2", "--streams has no effect on startup"),
        ("bench --what latency --infer-mode sync", "--infer-mode has no effect without --what engine"),
        ("bench --fast-decode", "--fast-decode has no effect without --what end-to-end"),
        ("bench --what startup --seconds 3", "--seconds has no effect on startup"),
        ("bench --what startup --iterations 3", "--iterations has no effect on startup"),
        ("bench --iterations 3 --seconds 3", "--seconds has no effect beside --iterations"),
        ("bench --engine onnxruntime --streams 2", "--streams has no effect without the engine openvino"),
        ("bench --engine pytorch --profile", "--profile has no effect without the engine openvino"),
        ("bench --tune --engine openvino", "--engine has no effect with --tune alone"),
        ("bench --tune --data photos --batch-size 4", "--data, --batch-size have no effect with --tune alone"),
        ("identify tiny/model.onnx --images photos --normalise unit --shortcut raw", "--normalise, --shortcut have"),
        ("bench --random-weights --activation silu", "--activation has no effect with --random-weights"),
        ("bench -m tiny -m tiny", "two of the models have the same name"),
        # The service.
        ("serve --engine onnxruntime --streams 2", "--streams has no effect without the engine openvino"),
        ("serve --shadow-fraction 0.5", "--shadow-fraction has no effect without --shadow"),
        ("serve --shadow a=b --ray local", "--shadow has no effect with --ray"),
        ("serve --otlp http://localhost:4318 --ray local", "--otlp has no effect with --ray"),
        ("serve --otlp localhost:4318", "otlp"),
        ("serve --shadow a", "shadow"),
        # Training.
        ("train recipe.toml --dry-run -o run", "--output has no effect with --dry-run"),
        ("train recipe.toml --dry-run --tensorboard", "--tensorboard has no effect with --dry-run"),
        ("train recipe.toml --dry-run --data photos", "photos holds no cifar10"),
        ("train recipe.toml --set stored=96", "stored is for class folders, not for cifar10"),
        ("train recipe.toml --set input_size=96", "input_size is for class folders, not for cifar10"),
        ("train recipe.toml --set data=\"folder\" --set crop_padding=2", "crop_padding is for 32×32 images"),
        ("train recipe.toml --set schedule=\"one-cycle\" --set decay=0.5", "decay is for the schedule steps"),
        ("train recipe.toml --set epoch=1", "did you mean 'epochs'?"),
        ("train recipe.toml --set frozen=2", "frozen is for pretrained weights, and this training has none"),
        ("train recipe.toml --dry-run --set norms=frozen", "norms is for pretrained weights"),
        ("train recipe.toml --set seed=1 --set seed=2", "seed is set twice: to 1 and to 2"),
        ("train recipe.toml --set data=folder --set alpha=drop --alpha white", "alpha is set twice: to white"),
        ("finetune --data photos -o run --set seed=3 --seed 0", "seed is set twice: to 0 and to 3"),
        ("finetune --data photos -o run --device cuda", "--device has no effect on a probe"),
        ("finetune --data photos -o run --set patience=2", "patience has no effect in the mode probe"),
        ("finetune --data photos -o run --mode full --set flips=false", "flips has no effect in the mode full"),
        ("data imagenet photos -o val.csv --extract here", "--extract has no effect: no source is an archive"),
    ],
)  # fmt: skip
def test_what_would_have_no_effect_is_refused(wrn: Wrn, tiny: Path, photos: Path, command: str, said: str) -> None:
    """Exit code 2, the reason on stderr, nothing on stdout and nothing written."""
    Path("recipe.toml").write_text(RECIPE)
    Path("build.yaml").write_text(BUILD)
    before = sorted(Path().rglob("*"))
    done = wrn(*command.split(" "))
    assert (done.code, done.out) == (2, ""), done.err
    assert said in done.err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("value", ["inf", "nan", "0", "-1"])
def test_a_benchmark_ends(wrn: Wrn, tiny: Path, value: str) -> None:
    done = wrn("bench", "-m", "tiny", "--seconds", value)
    assert (done.code, done.out) == (2, "")
    assert "rounds and seconds must be more than 0, and finite" in done.err


@pytest.mark.parametrize(
    ("command", "value"),
    [
        *(("compile -m tiny -o x --gate", value) for value in ("nan", "inf", "101", "-1")),
        *(("compare tiny tiny --data photos --max-drop", value) for value in ("nan", "inf", "-1")),
        ("cascade tiny tiny --data photos -o x --max-drop", "nan"),
        ("compile -m tiny -o x --min-agreement", "nan"),
    ],
)
def test_limits_are_percentage_points(wrn: Wrn, tiny: Path, photos: Path, command: str, value: str) -> None:
    done = wrn(*command.split(" "), value)
    assert (done.code, done.out) == (2, "")
    assert command.split(" ")[-1] in done.err
    assert "or equal to" in done.err or f"takes percentage points from 0 to 100, or none, got '{value}'" in done.err
    assert not Path("x").exists()


@pytest.mark.parametrize(
    "command",
    [
        "compile -m tiny -o tiny --precision fp16",
        "compile -m tiny -o photos/../tiny --precision fp16",
        "calibrate -m tiny -o tiny --data photos",
        "export -m tiny -o tiny",
        "export -m tiny/model.onnx -o tiny",
        "cascade other tiny --data photos -o tiny",
        "cascade other tiny@24 --data photos -o tiny",
    ],
)
def test_a_model_does_not_overwrite_its_source(wrn: Wrn, tiny: Path, photos: Path, command: str) -> None:
    before = {path: path.read_bytes() for path in tiny.iterdir()}
    done = wrn(*command.split(" "))
    assert (done.code, "tiny would overwrite the model that it is made from" in done.err) == (2, True), done.err
    assert {path: path.read_bytes() for path in tiny.iterdir()} == before


@pytest.mark.parametrize(
    "command",
    [
        "classify photos -m tiny --threads 1 --batch-size 1 --infer-mode sync",
        "compile -m tiny -o x --precision fp16 --data photos --min-agreement 0",
        "compile -m tiny -o x --precision fp16 --gate none",
        "models --format json",
    ],
)
def test_what_has_an_effect_is_not_refused(wrn: Wrn, tiny: Path, photos: Path, command: str) -> None:
    assert wrn(*command.split(" ")).code == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WRN_SERVE_TOKEN", "", "WRN_SERVE_TOKEN is empty"),
        ("WRN_SERVE_TOKEN", "two words", "WRN_SERVE_TOKEN contains white space"),
        ("WRN_SERVE_TOKEN", "ключ", "or non-ASCII"),
        ("WRN_SERVE_ADMIN_TOKEN", "", "WRN_SERVE_ADMIN_TOKEN is empty"),
        ("WRN_SERVE_POLL", "1", "--poll has no effect without --models"),
        ("WRN_SERVE_PROT", "9000", "WRN_SERVE_PROT is no option of 'wrn serve'"),
    ],
)
def test_a_variable_of_the_service_takes_effect_or_is_refused(
    wrn: Wrn, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """An empty token opened the service to everybody."""
    monkeypatch.setenv(name, value)
    done = wrn("serve", "--port", "0")
    assert (done.code, words in done.err) == (2, True)
