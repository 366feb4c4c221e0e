"""Checkpoints are whole or not there, and only continue their own run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wideresnet.errors import ConfigError, TrainingError
from wideresnet.training.checkpoint import FILE_NAME, TrainingState, load_checkpoint, save_checkpoint
from wideresnet.training.recipe import Recipe

RECIPE = Recipe(architecture="wrn_10_1", epochs=4, learning_rate=0.1, sizes=((0, 24), (2, 32)), milestones=(1, 2))


def state(epoch: int = 1) -> TrainingState:
    return TrainingState(
        recipe=RECIPE,
        epoch=epoch,
        model={"fc.weight": torch.full((2, 3), float(epoch))},
        averaged={},
        optimiser={"state": {}, "param_groups": [{"lr": 0.1}]},
        log=[{"epoch": 0, "loss": 1.5, "top1": float("nan"), "seconds": 2.0}],
    )


def load(run: Path, recipe: Recipe = RECIPE) -> TrainingState:
    state = load_checkpoint(run, recipe)
    assert state is not None
    return state


def change_recipe(run: Path, added: dict[str, object], removed: tuple[str, ...] = ()) -> None:
    """Rewrite the checkpoint's recipe as another version of the package would have written it."""
    values = torch.load(run / FILE_NAME, weights_only=True)
    values["recipe"] = {key: value for key, value in values["recipe"].items() if key not in removed} | added
    torch.save(values, run / FILE_NAME)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    loaded = load(tmp_path)
    assert torch.equal(loaded.model["fc.weight"], torch.ones(2, 3))
    assert (loaded.recipe, loaded.epoch, loaded.optimiser) == (RECIPE, 1, state().optimiser)
    assert loaded.log[0]["loss"] == 1.5
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_fresh_folder_has_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, RECIPE) is None


def test_a_kill_in_the_middle_of_a_save_leaves_the_old_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    # Half of the new file is written when the process is killed as no handler can prevent.
    code = f"""
import os, signal, sys, torch
from pathlib import Path
from wideresnet.training import checkpoint
from wideresnet.training.recipe import Recipe
def half(values, file):
    file.write(b"PK" + bytes(5000))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
recipe = Recipe(architecture="wrn_10_1", epochs=4, learning_rate=0.1)
checkpoint.save_checkpoint(Path({str(tmp_path)!r}), checkpoint.TrainingState(recipe, 2, {{}}, {{}}, {{}}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 3, "the kill did not come in the middle"
    assert load(tmp_path).epoch == 1
    save_checkpoint(tmp_path, state(2))
    assert load(tmp_path).epoch == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("keep", [0, 1, 100, 1000])
def test_a_damaged_one_is_an_error_that_says_what_to_do(tmp_path: Path, keep: int) -> None:
    save_checkpoint(tmp_path, state())
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrainingError, match="is damaged") as caught:
        load_checkpoint(tmp_path, RECIPE)
    assert "delete it" in caught.value.hint


@pytest.mark.parametrize("content", [b"\x80\x02}q", b"\x80\x02X\x01", b"(lp0\n.", b"\x80\x02c\xff", bytes(range(40))])
def test_no_content_is_another_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(TrainingError, match="is damaged"):
        load_checkpoint(tmp_path, RECIPE)


def test_a_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    torch.save({"something": 1}, tmp_path / FILE_NAME)
    with pytest.raises(TrainingError, match="is damaged"):
        load_checkpoint(tmp_path, RECIPE)
    torch.save([1, 2], tmp_path / FILE_NAME)
    with pytest.raises(TrainingError, match="is damaged"):
        load_checkpoint(tmp_path, RECIPE)


def test_another_recipe_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    changed = RECIPE.model_copy(update={"learning_rate": 0.2, "seed": 5})
    with pytest.raises(TrainingError, match=r"another recipe; different: seed, learning_rate"):
        load_checkpoint(tmp_path, changed)


def test_a_checkpoint_of_an_older_version_resumes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    change_recipe(tmp_path, {"sync_norms": False}, removed=("crop_scale", "stored"))
    assert load(tmp_path).epoch == 1
    with pytest.raises(TrainingError, match="different: stored"):
        load_checkpoint(tmp_path, RECIPE.model_copy(update={"stored": 99}))


def test_a_checkpoint_with_a_removed_setting_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    change_recipe(tmp_path, {"sync_norms": True})
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: no setting called 'sync_norms'"):
        load_checkpoint(tmp_path, RECIPE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("numbers", [10, 1_000_000])
def test_a_full_disk_is_an_error_in_words_and_leaves_the_old_one(tmp_path: Path, numbers: int) -> None:
    save_checkpoint(tmp_path, state())
    (tmp_path / ".checkpoint.pt.part").symlink_to("/dev/full")
    larger = state(2)
    larger.model["fc.weight"] = torch.zeros(numbers)
    with pytest.raises(TrainingError, match=r"cannot write .*checkpoint\.pt: No space left on device") as caught:
        save_checkpoint(tmp_path, larger)
    assert "repeat the command" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert load(tmp_path).epoch == 1
