"""The loop: the same recipe gives the same weights, however often it was interrupted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fakes import tiny_images
from wideresnet.datasets.cifar import CifarArrays
from wideresnet.datasets.splits import FolderArrays
from wideresnet.errors import TrainingError
from wideresnet.records import Labels
from wideresnet.training.batches import Batches, CifarBatches, FolderBatches
from wideresnet.training.checkpoint import STOPPED, load_checkpoint
from wideresnet.training.distributed import SINGLE_PROCESS, Group
from wideresnet.training.layer_groups import training_mode
from wideresnet.training.loop import Epoch, Step, compute_loss, prepare, take_step, train
from wideresnet.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

# Everything that could remember something from epoch to epoch is switched on.
RECIPE = Recipe(
    architecture="wrn_10_1", epochs=3, batch_size=16, learning_rate=0.1, schedule="one-cycle", dropout=0.3,
    ema=0.9, label_smoothing=0.1, flip="alternating", sizes=((0, 16), (1, 20), (2, 32)), evaluate_every=2,
)  # fmt: skip
FOLDER = RECIPE.model_copy(
    update={"data": "folder", "stored": 24, "crop_ratio": (0.5, 2.0), "sizes": ((0, 8), (1, 16)), "input_size": 20}
)
# The same for what is fine-tuned.
TUNED = FOLDER.model_copy(
    update={
        "balanced": True, "trivial": True, "jitter": 0.4, "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0,
        "frozen": 2, "stage_rate": 0.5, "norms": "train",
    }
)  # fmt: skip
# The same for what changes small images.
CHANGED = RECIPE.model_copy(
    update={
        "trivial": True, "jitter": 0.4, "erasing": 0.5, "cutout": 8, "mixup": 0.2, "cutmix": 1.0, "zero_init": True,
        "schedule": "cosine", "flip_evaluation": True, "randaugment": 2,
    }
)  # fmt: skip
AVERAGED = RECIPE.model_copy(update={"ema": 0.0, "swa": 2, "evaluate_every": 1})
TAUGHT = RECIPE.model_copy(update={"label_smoothing": 0.0, "teacher": "t", "teacher_views": 2, "flip": "random"})
MIXED_TAUGHT = TAUGHT.model_copy(update={"teacher_views": 0, "mixup": 0.4, "cutout": 8})
TURNED = RECIPE.model_copy(update={"muon_rate": 0.05, "norm_weight_decay": 0.0})
PLAIN = Recipe(architecture="wrn_10_1", epochs=1, batch_size=16, learning_rate=0.05, sizes=((0, 16),))


def cifar_arrays(n: int = 64) -> CifarArrays:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (n + 32, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, n + 32)
    return CifarArrays(images[:n], labels[:n], images[n:], labels[n:])


def teacher(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1)[:, :10].astype(np.float32) / 50


def batches(recipe: Recipe, group: Group = SINGLE_PROCESS) -> Batches:
    if recipe.data != "folder":
        return CifarBatches(recipe, cifar_arrays(), group, teacher if recipe.teacher else None)
    labels = np.arange(96) % 3
    train, val = tiny_images(64, recipe.stored), tiny_images(32, recipe.preprocess().crop)
    arrays = FolderArrays("mine", Labels(("a", "b", "c")), train, labels[:64], val, labels[64:])
    return FolderBatches(recipe, arrays, group=group)


def resume(recipe: Recipe, folder: Path, data: Batches | None = None) -> Iterator[Step | Epoch]:
    """Start a run in ``folder``, or resume it."""
    folder.mkdir(exist_ok=True)
    data = data or batches(recipe)
    return train(prepare(recipe, data.classes, saved=load_checkpoint(folder, recipe)), data, folder)


def weights(run: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    state = load_checkpoint(run, recipe)
    assert state is not None
    assert state.epoch == recipe.epochs
    momentum = {f"momentum {k}": v["momentum_buffer"] for k, v in state.optimiser["state"].items()}
    return {**state.model, **{f"averaged {k}": v for k, v in state.averaged.items()}, **momentum}


def assert_identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


RESUMED = {
    "cifar": RECIPE, "folder": FOLDER, "fine-tuned": TUNED, "changed": CHANGED, "taught": TAUGHT,
    "mixed and taught": MIXED_TAUGHT, "turned": TURNED, "averaged": AVERAGED, "averaged and fine-tuned":
    TUNED.model_copy(update={"ema": 0.0, "swa": 2}), "turned and fine-tuned":
    TUNED.model_copy(update={"muon_rate": 0.05}),
}  # fmt: skip


@pytest.mark.parametrize("recipe", RESUMED.values(), ids=RESUMED)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, recipe: Recipe) -> None:
    undisturbed, cut = tmp_path / "whole", tmp_path / "cut"
    events = list(resume(recipe, undisturbed))
    assert len(events) == 3 * (4 + 1)
    # Once in the middle of the second epoch, once in the middle of the third.
    for expected_epoch in (1, 2):
        running = resume(recipe, cut)
        middle = (e for e in running if isinstance(e, Step) and e.epoch == expected_epoch and e.step % 4 == 2)
        assert next(middle).epoch == expected_epoch
        running.close()
        torch.rand(7)  # whatever else happened to the global generator
    rest = list(resume(recipe, cut))
    assert [e.epoch for e in rest if isinstance(e, Epoch)] == [2]
    assert_identical(weights(undisturbed, recipe), weights(cut, recipe))


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    list(resume(PLAIN, tmp_path))
    assert list(resume(PLAIN, tmp_path)) == []


def test_two_runs_are_equal_and_another_seed_is_not(tmp_path: Path) -> None:
    results = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run, recipe = tmp_path / name, PLAIN.model_copy(update={"seed": seed})
        list(resume(recipe, run))
        results.append(weights(run, recipe))
    assert_identical(results[0], results[1])
    assert not torch.equal(results[0]["conv1.weight"], results[2]["conv1.weight"])


def test_events_count_steps_over_the_run_and_report_each_epoch(tmp_path: Path) -> None:
    recipe = PLAIN.model_copy(update={"epochs": 3, "evaluate_every": 2})
    # Of 40 images the last 8 fill no batch.
    events = list(resume(recipe, tmp_path, CifarBatches(recipe, cifar_arrays(40))))
    steps = [e for e in events if isinstance(e, Step)]
    epochs = [e for e in events if isinstance(e, Epoch)]
    assert [(s.epoch, s.step, s.steps) for s in steps] == [(e, 2 * e + i, 6) for e in range(3) for i in (1, 2)]
    assert [e.top1 == e.top1 for e in epochs] == [False, True, True], "every second epoch, and the last"
    assert epochs[0].loss == pytest.approx((steps[0].loss + steps[1].loss) / 2)


def test_it_learns_to_tell_dark_from_bright(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 2
    images = (rng.integers(0, 100, (96, 32, 32, 3)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    data = CifarArrays(images[:64], labels[:64], images[64:], labels[64:])
    recipe = PLAIN.model_copy(update={"epochs": 4})
    last = [e for e in resume(recipe, tmp_path, CifarBatches(recipe, data)) if isinstance(e, Epoch)][-1]
    assert last.top1 == 1.0


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    recipe = PLAIN.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step \d+ \(epoch 0\)") as caught:
        list(resume(recipe, tmp_path))
    assert "lower learning_rate" in caught.value.hint
    assert load_checkpoint(tmp_path, recipe) is None


def test_the_state_that_gave_such_a_loss_is_saved_and_not_spoilt_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def spoilt(*arguments: object, **options: object) -> torch.Tensor:
        steps.append(1)
        return cross_entropy(*arguments, **options) * (float("nan") if len(steps) == 6 else 1)

    cross_entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", spoilt)
    with pytest.raises(TrainingError, match=r"the loss became nan at step 6 \(epoch 1\)") as caught:
        list(resume(RECIPE, tmp_path))
    assert STOPPED in caught.value.hint
    stopped = torch.load(tmp_path / STOPPED, weights_only=True)
    assert stopped["epoch"] == 1, "epochs finished"
    assert all(value.isfinite().all() for part in ("model", "averaged") for value in stopped[part].values())
    checkpoint = load_checkpoint(tmp_path, RECIPE)
    assert checkpoint is not None
    assert checkpoint.epoch == 1
    assert not torch.equal(checkpoint.model["conv1.weight"], stopped["model"]["conv1.weight"]), "the step before counts"


def test_weights_that_only_the_last_step_spoils_are_not_saved_as_a_result(tmp_path: Path) -> None:
    running = resume(PLAIN, tmp_path)
    steps = [event for event in (next(running) for _ in range(4)) if isinstance(event, Step)]
    assert len(steps) == 4
    model = running.gi_frame.f_locals["trainer"].model  # type: ignore[attr-defined]
    with torch.no_grad():
        model.fc.bias[0] = float("nan")
    with pytest.raises(TrainingError, match="the loss of the images that are not trained on became nan"):
        next(running)
    assert load_checkpoint(tmp_path, PLAIN) is None


def test_a_batch_norm_of_one_value_is_an_error_in_words(tmp_path: Path) -> None:
    recipe = PLAIN.model_copy(update={"batch_size": 1, "sizes": ((0, 4),)})
    with pytest.raises(TrainingError, match="one image of so few pixels is no batch"):
        list(resume(recipe, tmp_path))


def test_fewer_images_than_a_batch_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="batch"):
        list(resume(PLAIN, tmp_path, CifarBatches(PLAIN, cifar_arrays(8))))


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_the_classifier_learns_at_its_share_of_the_rate(factor: float) -> None:
    recipe = PLAIN.model_copy(update={"momentum": 0.0, "weight_decay": 0.0, "norm_weight_decay": 0.0})
    changed = []
    for head_rate in (1.0, factor):
        trainer = prepare(recipe.model_copy(update={"head_rate": head_rate}), 10)
        before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        take_step(trainer, *next(batches(recipe).training(0)), rate=0.1)
        changed.append({key: value - before[key] for key, value in trainer.model.state_dict().items()})
    plain, slowed = changed
    for key in ("fc.weight", "fc.bias"):
        assert plain[key].abs().max() > 0
        torch.testing.assert_close(slowed[key], factor * plain[key])
    torch.testing.assert_close(slowed["conv1.weight"], plain["conv1.weight"])


def changed(recipe: Recipe) -> dict[str, torch.Tensor]:
    """How far one step of rate 0.1 without momentum and decay moves each tensor."""
    plain = recipe.model_copy(update={"momentum": 0.0, "weight_decay": 0.0, "norm_weight_decay": 0.0})
    trainer = prepare(plain, 10)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    training_mode(trainer.model, plain)
    take_step(trainer, *next(batches(plain).training(0)), rate=0.1)
    return {key: value - before[key] for key, value in trainer.model.state_dict().items()}


def test_stages_learn_at_their_share_of_the_rate() -> None:
    plain, slowed = changed(PLAIN), changed(PLAIN.model_copy(update={"stage_rate": 0.5}))
    factors = {"conv1.weight": 0.125, "layer1.0.conv1.weight": 0.25, "layer2.0.bn1.bias": 0.5}
    for key, factor in {**factors, "layer3.0.conv2.weight": 1, "bn.weight": 1, "fc.weight": 1}.items():
        torch.testing.assert_close(slowed[key], factor * plain[key])


def test_frozen_stages_keep_weights_and_statistics_and_frozen_norms_their_statistics() -> None:
    moved = {key for key, change in changed(PLAIN.model_copy(update={"frozen": 2})).items() if change.any()}
    assert not any(key.startswith(("conv1", "layer1")) for key in moved)
    assert {"layer2.0.conv1.weight", "layer2.0.bn1.running_mean", "fc.weight"} <= moved
    moved = {key for key, change in changed(PLAIN.model_copy(update={"norms": "frozen"})).items() if change.any()}
    assert not any("running" in key for key in moved)
    assert {"conv1.weight", "layer1.0.bn1.weight", "bn.bias"} <= moved


def test_a_run_starts_from_given_weights() -> None:
    weights = {key: value + 1 for key, value in prepare(PLAIN, 10).model.state_dict().items()}
    for recipe in (PLAIN, RECIPE):
        trainer = prepare(recipe, 10, weights=weights)
        assert trainer.epoch == 0
        for model in (trainer.model, trainer.averaged):
            assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


# A device without data: operations on it compute shapes only and refuse tensors of the CPU. The mode answers requests
# for a number, of which there are two, the loss and the count of correct answers.
ON_META = """
import sys, torch
from torch.utils._python_dispatch import TorchDispatchMode
sys.path[:0] = sys.argv[1:]
import test_loop as cases
from wideresnet.training.distributed import Group
from wideresnet.training.layer_groups import training_mode
from wideresnet.training.loop import average_epoch, prepare, take_step, update_average, validate

class Numbers(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return 1.0 if args[0].is_floating_point() else 1
        return function(*args, **kwargs or {})

for recipe in (cases.RECIPE, cases.FOLDER, cases.TUNED, cases.CHANGED, cases.AVERAGED, cases.TURNED):
    data = cases.batches(recipe, Group(device="meta"))
    trainer = prepare(recipe, data.classes, data.group)
    training_mode(trainer.model, recipe)
    images, targets = next(data.training(0))
    assert images.is_meta and targets.is_meta, "augmented there"
    assert images.is_contiguous(memory_format=torch.channels_last)
    with Numbers():
        take_step(trainer, *next(data.training(0)), 0.1)
        update_average(trainer, 0)
        if recipe.swa:
            average_epoch(trainer, data, 2)
        validate(trainer, data)
    kept = [p for p in trainer.model.parameters() if p.requires_grad and not (recipe.muon_rate and p.ndim == 4)]
    gradients = [parameter.grad for parameter in kept]
    state = [*trainer.averaged.state_dict().values(), *trainer.optimiser.state_dict()["state"][0].values()]
    assert all(tensor is not None and tensor.is_meta for tensor in gradients + state), recipe.data
"""


def test_everything_is_computed_on_the_device() -> None:
    tests = Path(__file__).parents[2]
    command = [sys.executable, "-c", ON_META, str(tests), str(Path(__file__).parent)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr


def test_mixed_targets_are_smoothed_towards_equal_probabilities() -> None:
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(5, 10)), rng.dirichlet(np.ones(10), 5)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -((0.9 * targets + 0.1 / 10) * log_probabilities).sum(1).mean()
    recipe = PLAIN.model_copy(update={"label_smoothing": 0.1})
    assert compute_loss(torch.tensor(logits), torch.tensor(targets), recipe).item() == pytest.approx(expected)


def test_mirror_images_are_averaged_beside_the_accuracy_that_counts(tmp_path: Path) -> None:
    recipe = PLAIN.model_copy(update={"flip_evaluation": True})
    (with_flip,) = (e for e in resume(recipe, tmp_path / "with") if isinstance(e, Epoch))
    (without,) = (e for e in resume(PLAIN, tmp_path / "without") if isinstance(e, Epoch))
    assert (with_flip.top1, with_flip.val_loss) == (without.top1, without.val_loss)
    assert without.top1_flip != without.top1_flip, "not measured"
    trainer = prepare(recipe, 10, saved=load_checkpoint(tmp_path / "with", recipe))
    trainer.model.eval()
    ((images, labels),) = batches(recipe).test()
    with torch.no_grad():
        answers = [trainer.model(image[None]) + trainer.model(image[None].flip(3)) for image in images]
    right = [int(answer.argmax()) == int(label) for answer, label in zip(answers, labels, strict=True)]
    assert with_flip.top1_flip == sum(right) / len(right)


def test_distillation_is_the_divergence_at_a_temperature_times_its_square() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 10))

    def softened(logits: np.ndarray) -> np.ndarray:
        values = np.exp(logits / 3)
        return values / values.sum(1, keepdims=True)

    expected = 9 * (softened(teacher) * np.log(softened(teacher) / softened(student))).sum(1).mean()
    recipe = PLAIN.model_copy(update={"teacher": "t", "temperature": 3.0})
    loss = compute_loss(torch.tensor(student), torch.tensor(softened(teacher)), recipe)
    assert loss.item() == pytest.approx(expected)
    assert compute_loss(torch.tensor(teacher), torch.tensor(softened(teacher)), recipe).item() == pytest.approx(0)


@pytest.mark.parametrize("norms", ["train", "frozen"])
def test_the_weights_after_the_last_epochs_are_averaged_and_get_statistics_of_their_own(
    tmp_path: Path, norms: str
) -> None:
    recipe, after = AVERAGED.model_copy(update={"epochs": 4, "swa": 3, "dropout": 0.0, "norms": norms}), []
    trainer = prepare(recipe, 10)
    for event in train(trainer, batches(recipe), tmp_path):
        if isinstance(event, Epoch):
            after.append({key: value.clone().double() for key, value in trainer.model.state_dict().items()})
            if event.epoch < 2:
                assert all(map(torch.equal, trainer.model.parameters(), trainer.averaged.parameters()))
    result, last = trainer.averaged.state_dict(), after[-1]
    for key, value in result.items():
        if "running" not in key and value.is_floating_point():
            torch.testing.assert_close(value.double(), sum(state[key] for state in after[1:]) / 3, atol=1e-6, rtol=1e-5)
    images = torch.cat([images for images, _ in batches(recipe).training(3)])
    inputs = torch.nn.functional.conv2d(images, result["conv1.weight"], padding=1)
    mean = inputs.mean((0, 2, 3))                  # batches are of one size: the mean of their means
    key = "layer1.0.bn1.running_mean"
    if norms == "train":
        torch.testing.assert_close(result[key], mean, atol=1e-4, rtol=1e-4)
        assert not torch.equal(result[key], last[key].float())
    else:
        assert not result[key].any(), "as it began"
    assert all(module.momentum == 0.1 for module in trainer.averaged.modules() if hasattr(module, "running_mean"))
