"""The plan of a run: a schedule that is exact, and times and memory that come from real steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wideresnet.architectures import wrn
from wideresnet.errors import ConfigError, DataError, TrainingError
from wideresnet.report.plan import to_text
from wideresnet.tasks.train import plan as task
from wideresnet.tasks.train.plan import plan_training
from wideresnet.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(
    architecture="wrn_10_1", epochs=10, batch_size=8, learning_rate=0.5, schedule="steps", milestones=(4, 8), decay=0.1,
    sizes=((0, 16), (6, 32)), evaluate_every=4, ema=0.9,
)  # fmt: skip


def test_the_schedule_changes_where_a_size_or_a_rate_does() -> None:
    plan = plan_training(RECIPE)
    assert (plan.train, plan.test, plan.classes, plan.steps_per_epoch) == (50_000, 10_000, 10, 6250)
    phases = [(phase.first, phase.last, phase.side, phase.rates[0]) for phase in plan.phases]
    assert phases == [
        (0, 3, 16, pytest.approx(0.5)), (4, 5, 16, pytest.approx(0.05)),
        (6, 7, 32, pytest.approx(0.05)), (8, 9, 32, pytest.approx(0.005)),
    ]  # fmt: skip
    network = wrn(10, 1)
    assert (plan.parameters, [phase.macs for phase in plan.phases[1:3]]) == (
        network.parameters(), [network.macs(16), network.macs(32)],
    )  # fmt: skip
    assert plan.steps == 62_500
    assert plan.evaluations == 3, "after epochs 4, 8 and 10"


def test_a_cycle_rises_and_falls_within_its_phases() -> None:
    recipe = RECIPE.model_copy(update={"schedule": "one-cycle", "warmup": 0.2, "milestones": ()})
    first, second = plan_training(recipe).phases
    assert (first.first, first.last, second.first, second.last) == (0, 5, 6, 9)
    assert first.rates[0] < 1e-3
    assert first.rates[1] == pytest.approx(0.5, abs=1e-3)
    assert first.rates[2] > second.rates[0] > second.rates[2]
    assert second.rates[1] == second.rates[0]


def test_times_and_memory_add_up() -> None:
    plan = plan_training(RECIPE)
    assert all(phase.step_seconds > 0 and 1 <= phase.measured <= task.MEASURED_STEPS for phase in plan.phases)
    training = sum(phase.epochs * phase.step_seconds for phase in plan.phases) * 6250
    assert plan.seconds == pytest.approx(training + 3 * plan.evaluation_seconds)
    assert plan.memory_mb == plan.peak_rss_mb + plan.pictures_mb
    assert plan.pictures_mb * 2**20 == 3 * (60_000 * 32**2 + 50_000 * 40**2)
    bare = plan_training(RECIPE.model_copy(update={"crop_padding": 0}))
    assert bare.pictures_mb * 2**20 == 3 * 60_000 * 32**2


def test_a_size_ends_when_its_time_is_up_but_not_before_a_step() -> None:
    assert {phase.measured for phase in plan_training(RECIPE, seconds=0).phases} == {1}


def test_svhn_and_whitening_need_no_data() -> None:
    plan = plan_training(RECIPE.model_copy(update={"data": "svhn", "batch_size": 100}), seconds=0)
    assert (plan.train, plan.test, plan.steps_per_epoch) == (604_388, 26_032, 6043)
    whitened = RECIPE.model_copy(update={"whitening": "zca", "crop_padding": 0})
    assert plan_training(whitened, seconds=0).pictures_mb * 2**20 == 3 * (60_000 + 4 * 50_000) * 32**2


def test_folders_are_counted_and_not_decoded(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"data": "folder", "stored": 20, "sizes": ((0, 16),), "input_size": 18})
    for part, count in (("train", 9), ("val", 2)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / part / name / f"{number}.png").write_bytes(b"no image at all")
    plan = plan_training(recipe, tmp_path, seconds=0)
    assert (plan.data, plan.train, plan.test, plan.classes) == (tmp_path.name, 18, 4, 2)
    assert plan.steps_per_epoch == 2
    assert plan.pictures_mb * 2**20 == 3 * (18 * 20**2 + 4 * 18**2)
    on_disk = plan_training(recipe, tmp_path, seconds=0, cached=True)
    assert (on_disk.pictures_mb, on_disk.disk_mb, plan.disk_mb) == (0, plan.pictures_mb, 0)
    with pytest.raises(TrainingError, match="18 training images do not fill one batch of 64"):
        plan_training(recipe.model_copy(update={"batch_size": 64}), tmp_path)
    with pytest.raises(ConfigError, match="class folders"):
        plan_training(recipe)
    with pytest.raises(DataError, match="val holds no splits: a/ and b/"):
        plan_training(recipe, tmp_path / "val")


def test_a_teacher_answers_in_the_epochs_of_new_views_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def teacher(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(images))
        return np.zeros((len(images), 10), np.float32)

    monkeypatch.setattr(task, "open_teacher", lambda recipe: (recipe, teacher if recipe.teacher else None))
    recipe = RECIPE.model_copy(update={"teacher": "t", "teacher_views": 3})
    plan = plan_training(recipe, seconds=0)
    phases = [(phase.first, phase.last, phase.side, phase.taught) for phase in plan.phases]
    assert phases == [(0, 2, 16, True), (3, 3, 16, False), (4, 5, 16, False), (6, 7, 32, False), (8, 9, 32, False)]
    assert asked == [8, 8], "a warm-up step and a measured one of 16 pixels"
    assert plan.answers_mb * 2**20 == 3 * 50_000 * 10 * 4
    assert [row.split()[-1] for row in to_text(plan).splitlines()[3:9]] == [
        "teacher", "answers", "kept", "kept", "kept", "kept",
    ]  # fmt: skip
    assert "of the teacher's answers" in to_text(plan)
    for other in (recipe.model_copy(update={"teacher_views": 0}), recipe.model_copy(update={"teacher_views": 10})):
        plan = plan_training(other, seconds=0)
        assert all(phase.taught for phase in plan.phases)
        assert "kept" not in to_text(plan)
    assert not any(phase.taught for phase in plan_training(RECIPE, seconds=0).phases)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan_training(RECIPE, seconds=0)
    assert list(tmp_path.iterdir()) == []
