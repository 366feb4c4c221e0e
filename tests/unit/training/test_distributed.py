"""Several processes learn what one would: the same images, gradients of the whole batch, exact counts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fakes import tiny_images
from wideresnet.datasets.cifar import CifarArrays
from wideresnet.datasets.splits import FolderArrays
from wideresnet.errors import ConfigError, DataError, TrainingError, WrnError
from wideresnet.records import Images, Labels
from wideresnet.tasks.train.train import _check_ranks_agree
from wideresnet.training import loop
from wideresnet.training.batches import Batches, CifarBatches, FolderBatches
from wideresnet.training.checkpoint import FILE_NAME, STOPPED, load_checkpoint, load_newest_checkpoint
from wideresnet.training.distributed import SINGLE_PROCESS, Group, check_group, find_device, join
from wideresnet.training.loop import Epoch, Step, prepare, train, validate
from wideresnet.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

RANKS = 2
CIFAR = Recipe(architecture="wrn_10_1", epochs=12, batch_size=32, learning_rate=0.01, sizes=((0, 8),))
# 230 images are tested, 100 at a time: no multiple of anything.
FOLDER = Recipe(
    architecture="wrn_10_1", data="folder", epochs=2, batch_size=16, learning_rate=0.05, stored=12, sizes=((0, 8),),
    ema=0.9,
)  # fmt: skip


def cifar(group: Group, recipe: Recipe = CIFAR) -> CifarBatches:
    noise = np.random.default_rng(3)
    images, labels = noise.integers(0, 256, (96, 32, 32, 3), np.uint8), noise.integers(0, 10, 96)
    return CifarBatches(recipe, CifarArrays(images[:64], labels[:64], images[64:], labels[64:]), group)


def folder(group: Group, recipe: Recipe = FOLDER) -> FolderBatches:
    labels = np.arange(230) % 3
    train, val = tiny_images(40, recipe.stored), tiny_images(230, recipe.preprocess().crop)
    arrays = FolderArrays("mine", Labels(("a", "b", "c")), train, labels[:40], val, labels)
    return FolderBatches(recipe, arrays, group=group)


# Two processes


@dataclass(frozen=True)
class Endpoint:
    """Where a process of the pair is, as torchrun would tell it."""

    rank: int
    port: int


def at(endpoint: Endpoint, body: Callable[[Group], Any]) -> Any:
    """What ``body`` gives in one of the processes, or its WrnError."""
    environment = {"RANK": endpoint.rank, "WORLD_SIZE": RANKS, "LOCAL_WORLD_SIZE": RANKS, "MASTER_PORT": endpoint.port}
    os.environ |= {key: str(value) for key, value in environment.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    loop.available_cpus = lambda: 1
    try:
        with join("cpu") as group:
            result = body(group)
    except WrnError as error:
        return error
    # Threads of a group that was not let go of can abort the process at its end.
    names = [file.read_text() for file in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in names), names
    return result


Both = Callable[[Callable[[Group], Any]], list[Any]]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """Calls a function of this file in two processes at once; what they give, by rank."""
    with ProcessPoolExecutor(RANKS, get_context("spawn")) as pool:

        def call(body: Callable[[Group], Any]) -> list[Any]:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            # None can take both: each waits inside for the other.
            return list(pool.map(partial(at, body=body), [Endpoint(rank, port) for rank in range(RANKS)]))

        yield call


def talk(group: Group) -> dict[str, Any]:
    numbers = torch.arange(8.0).view(1, 2, 2, 2).contiguous(memory_format=torch.channels_last) + group.rank
    means = [numbers.clone(memory_format=torch.preserve_format), torch.tensor(float(group.rank), dtype=torch.float64)]
    group.average(means[:1])
    group.average(means[1:])
    copied = [numbers.clone(), torch.tensor(group.rank)]
    group.copy_from_rank0(copied)
    return {
        "group": group,
        "means": means,
        "copied": copied,
        "gathered": group.gather(f"rank {group.rank}"),
        "sent": group.broadcast(group.rank, 1),
        "first": group.broadcast_from_rank0(lambda: os.getpid()),
        "pid": os.getpid(),
    }


def test_ranks_tell_each_other(both: Both) -> None:
    rank0, rank1 = both(talk)
    assert (rank0["group"], rank1["group"]) == (Group(0, 2, 2), Group(1, 2, 2))
    plain = torch.arange(8.0).view(1, 2, 2, 2)
    for rank in (rank0, rank1):
        assert torch.equal(rank["means"][0], plain + 0.5)
        assert rank["means"][1].item() == 0.5
        assert torch.equal(rank["copied"][0], plain)
        assert rank["gathered"] == ["rank 0", "rank 1"]
        assert rank["sent"] == 1
        assert rank["first"] == rank0["pid"] != rank1["pid"]
    assert [rank["copied"][1].item() for rank in (rank0, rank1)] == [0, 1], "what counts steps is no float"


def second_fails(group: Group) -> None:
    with group.raise_on_all_ranks():
        if group.rank == 1:
            raise DataError("no images here", "bring some")


def first_fails(group: Group) -> None:
    def work() -> None:
        assert group.is_rank0, "nobody else works"
        raise TrainingError("the disk is full", "make room")

    group.broadcast_from_rank0(work)


def second_leaves(group: Group) -> None:
    if group.is_rank0:
        group.gather("are you there?")


def test_an_error_of_one_rank_ends_all(both: Both) -> None:
    for error in both(second_fails):
        assert (type(error), error.message, error.hint) == (DataError, "no images here (on rank 1)", "bring some")
    for error in both(first_fails):
        assert (type(error), error.message, error.hint) == (TrainingError, "the disk is full", "make room")


def test_a_rank_that_is_gone_is_an_error_in_words(both: Both) -> None:
    error, nothing = both(second_leaves)
    assert nothing is None
    assert isinstance(error, TrainingError)
    assert "cannot reach the other processes of this run: " in error.message
    assert "repeat the command to resume from the last epoch" in error.hint


# One process


def test_alone_nothing_is_told_and_errors_stay_what_they_are() -> None:
    with join("cpu") as group:
        assert group == SINGLE_PROCESS
    numbers = torch.arange(3.0)
    SINGLE_PROCESS.average([numbers])
    SINGLE_PROCESS.copy_from_rank0([numbers])
    assert numbers.tolist() == [0, 1, 2]
    assert (SINGLE_PROCESS.gather(5), SINGLE_PROCESS.broadcast(5)) == ([5], 5)
    assert SINGLE_PROCESS.broadcast_from_rank0(lambda: 5) == 5
    mine = DataError("mine")
    with pytest.raises(DataError) as caught, SINGLE_PROCESS.raise_on_all_ranks():
        raise mine
    assert caught.value is mine


def test_cpus_are_divided_among_the_processes_of_a_machine() -> None:
    assert [Group(0, 8, 2).threads(cpus) for cpus in (1, 2, 5, 8)] == [1, 1, 2, 4]
    assert SINGLE_PROCESS.threads(8) == 8


def test_a_batch_that_does_not_divide_is_refused_and_so_are_other_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    check_group(Group(2, 4, 4), 128)
    with pytest.raises(ConfigError, match="batch_size 126 is not a multiple of the 4 processes"):
        check_group(Group(2, 4, 4), 126)
    check_group(SINGLE_PROCESS, 7)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    with pytest.raises(ConfigError, match="torchrun supports only 'wrn train'"):
        check_group(SINGLE_PROCESS, 128)


# The images


def joined(make: Callable[[Group], Batches], ranks: int, epoch: int) -> list[tuple[Tensor, Tensor]]:
    """The batches of several ranks put together again."""
    parts = [list(make(Group(rank, ranks, ranks)).training(epoch)) for rank in range(ranks)]
    batches = []
    for batch in zip(*parts, strict=True):
        images, targets = (torch.stack(part, 1).flatten(0, 1) for part in zip(*batch, strict=True))
        batches.append((images, targets))
    return batches


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("make", [cifar, folder])
def test_all_ranks_together_see_exactly_what_one_process_sees(make: Callable[[Group], Batches], ranks: int) -> None:
    for epoch in range(2):
        alone = list(make(SINGLE_PROCESS).training(epoch))
        several = joined(make, ranks, epoch)
        assert len(alone) == len(several) > 1
        for (images, targets), (same, names) in zip(alone, several, strict=True):
            assert torch.equal(targets, names)
            torch.testing.assert_close(images, same, rtol=1e-6, atol=1e-6)


def test_colours_and_dropout_are_drawn_by_each_rank_for_itself() -> None:
    recipe = FOLDER.model_copy(update={"jitter": 0.5, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)})
    arrays = folder(SINGLE_PROCESS, recipe).arrays
    grey = FolderArrays(arrays.name, arrays.labels, np.full_like(arrays.train_images, 100), *(
        arrays.train_labels, arrays.val_images, arrays.val_labels
    ))  # fmt: skip
    coloured, dropped = [], []
    for rank in range(2):
        batches = FolderBatches(recipe, grey, group=Group(rank, 2, 2)).training(0)
        coloured.append(next(batches)[0])
        dropped.append(torch.rand(4))
        again = next(FolderBatches(recipe, grey, group=Group(rank, 2, 2)).training(0))[0]
        assert torch.equal(coloured[-1], again), "and only seed, epoch and rank decide"
    assert not torch.equal(*coloured)
    assert not torch.equal(*dropped)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_each_test_image_is_one_ranks(ranks: int) -> None:
    alone = list(folder(SINGLE_PROCESS).test())
    parts = [list(folder(Group(rank, ranks, ranks)).test()) for rank in range(ranks)]
    assert [len(part) for part in parts] == [len(alone[rank::ranks]) for rank in range(ranks)]
    for index, (images, targets) in enumerate(alone):
        same, names = parts[index % ranks][index // ranks]
        assert torch.equal(images, same), "in the batch it has in one process, so that it gets the same answer"
        assert torch.equal(targets, names)


# Whole runs


def start(group: Group, data: Batches, recipe: Recipe, run: Path) -> Iterator[Step | Epoch]:
    """Train or resume, with a run folder for each rank: no shared disk is needed."""
    folder = run / f"rank {group.rank}"
    folder.mkdir(parents=True, exist_ok=True)
    saved = load_newest_checkpoint(folder, recipe, group)
    return train(prepare(recipe, data.classes, group, saved), data, folder)


def run(group: Group, make: Callable[[Group, Recipe], Batches], recipe: Recipe, path: Path) -> dict[str, Any]:
    events = list(start(group, make(group, recipe), recipe, path))
    return {
        "losses": [event.loss for event in events if isinstance(event, Step)],
        "top1": [event.top1 for event in events if isinstance(event, Epoch)],
        "files": sorted(file.name for file in (path / f"rank {group.rank}").iterdir()),
    }


def test_two_processes_have_the_losses_of_one_up_to_their_batch_norms(tmp_path: Path, both: Both) -> None:
    alone = run(SINGLE_PROCESS, cifar, CIFAR, tmp_path / "one")["losses"]
    rank0, rank1 = both(partial(run, make=cifar, recipe=CIFAR, path=tmp_path / "two"))
    assert rank0["losses"] == rank1["losses"], "the loss is that of the whole batch, on every rank"
    assert len(alone) == 24
    np.testing.assert_allclose(rank0["losses"], alone, rtol=2e-2)


def test_counts_of_all_ranks_are_those_of_one_process_with_the_same_weights(tmp_path: Path, both: Both) -> None:
    rank0, rank1 = both(partial(run, make=folder, recipe=FOLDER, path=tmp_path))
    assert rank0["top1"] == rank1["top1"]
    assert (rank0["files"], rank1["files"]) == ([FILE_NAME], []), "rank 0 alone writes"
    trainer = prepare(FOLDER, 3, saved=load_checkpoint(tmp_path / "rank 0", FOLDER))
    assert trainer.epoch == 2
    alone, *_ = validate(trainer, folder(SINGLE_PROCESS))
    assert rank0["top1"][-1] == alone
    assert (alone * 230) == pytest.approx(round(alone * 230)), "of 230 images, none of them twice"


def cut(group: Group, path: Path, epochs: int) -> None:
    """Ends in the middle of an epoch of a run; ``path`` holds a folder for each rank."""
    for event in start(group, folder(group), FOLDER, path):
        if isinstance(event, Step) and event.epoch == epochs:
            return


def test_a_run_goes_on_from_the_newest_checkpoint_and_ends_with_the_same_bits(tmp_path: Path, both: Both) -> None:
    both(partial(run, make=folder, recipe=FOLDER, path=tmp_path / "whole"))
    both(partial(cut, path=tmp_path / "cut", epochs=1))
    # The node that had rank 0 is rank 1 now.
    (tmp_path / "cut/rank 0").rename(tmp_path / "cut/was 0")
    (tmp_path / "cut/rank 1").rename(tmp_path / "cut/rank 0")
    (tmp_path / "cut/was 0").rename(tmp_path / "cut/rank 1")
    rest, _ = both(partial(run, make=folder, recipe=FOLDER, path=tmp_path / "cut"))
    assert len(rest["losses"]) == 2, "one epoch of two was left"
    undisturbed, resumed = (load_checkpoint(tmp_path / name / "rank 0", FOLDER) for name in ("whole", "cut"))
    assert undisturbed is not None
    assert resumed is not None
    assert all(torch.equal(value, resumed.model[key]) for key, value in undisturbed.model.items())
    assert all(torch.equal(value, resumed.averaged[key]) for key, value in undisturbed.averaged.items())


def spoilt(group: Group, path: Path) -> None:
    """Rank 1 alone has an image that makes the third loss no number."""
    batches = cifar(group)
    training = batches.training

    def with_nan(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in training(epoch):
            if group.rank == 1 and epoch == 1:
                images[0, 0, 0, 0] = float("nan")
            yield images, labels

    object.__setattr__(batches, "training", with_nan)
    list(start(group, batches, CIFAR, path))


def test_a_loss_that_is_no_number_on_one_rank_ends_all(tmp_path: Path, both: Both) -> None:
    for error in both(partial(spoilt, path=tmp_path)):
        assert isinstance(error, TrainingError)
        assert error.message == "the loss became nan at step 3 (epoch 1)"
    assert sorted(path.name for path in (tmp_path / "rank 0").iterdir()) == [FILE_NAME, STOPPED]
    assert not list((tmp_path / "rank 1").iterdir())


def different(group: Group) -> None:
    images = Images("mine", Labels(("a", "b")), 20 + group.rank, 6)
    _check_ranks_agree(FOLDER.model_copy(update={"seed": group.rank}), images, group)


def test_ranks_with_another_recipe_or_other_images_are_refused(both: Both) -> None:
    for error in both(different):
        assert isinstance(error, TrainingError)
        assert error.message == "ranks 0 and 1 have different recipes and images"


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [find_device(choice, 1) for choice in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    assert chosen == [1, 1]
    with pytest.raises(ConfigError, match=r"no GPU for process 3 of this machine: torch finds 2"):
        find_device("auto", 2)


def test_without_a_gpu_only_who_insists_on_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [find_device(choice, 5) for choice in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(ConfigError, match="no GPU for process 1 of this machine: torch finds 0"):
        find_device("cuda")
