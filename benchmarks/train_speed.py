"""Training speed: this package beside the plain script of plain_cifar.py, in turns in one run.

    python benchmarks/train_speed.py wrn-16-2-cifar10-short -o benchmarks/results/training/DAY.json

Both train the network of the recipe on noise of 32×32 pixels (speed does not depend on what images show), loading
and augmentation included, with every CPU, each in a process of its own: ours tells the C library to keep memory, of
which the plain script shall have nothing. A round is one turn of each, another one first each time; the first steps of
a turn do not count. Two ratios come out, and they are different claims:

- ``ratio``: the same work, 32 pixels a side in both; ours over the plain script's, median over rounds;
- ``ratio_recipe``: the images a second of our whole recipe, with the smaller sizes that it shows at first, over
  those of the plain script, which has one size. An image of ours is less work then.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import plain_cifar
import torch

from wideresnet.datasets.cifar import CifarArrays
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.tasks.bench.interleave import take_turns
from wideresnet.training.batches import CifarBatches
from wideresnet.training.loop import prepare, take_step, update_average
from wideresnet.training.memory import keep_memory
from wideresnet.training.recipe import Recipe, read_recipe

IMAGES = 10_000
SIDE = 32                                          # pixels, of the plain script and of the ratio
WARM_UP = 2                                        # steps of a turn that do not count

Turn = Callable[[int], float]                      # steps that count -> their images a second


def noise() -> CifarArrays:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    labels = rng.integers(0, 10, IMAGES)
    return CifarArrays(images, labels, images[:1], labels[:1])


@contextmanager
def process(make: Callable[..., Turn], recipe: Recipe, setting: int) -> Iterator[Turn]:
    """What ``make`` makes, in a process that ends with the block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=play, args=(there, make, recipe, setting))
    child.start()
    there.close()                                  # so that its death is the end of the pipe here

    def turn(steps: int) -> float:
        here.send(steps)
        return here.recv()

    try:
        yield turn
    finally:
        here.close()
        child.join()


def play(connection: Connection, make: Callable[..., Turn], recipe: Recipe, setting: int) -> None:
    torch.set_num_threads(available_cpus())
    turn = make(recipe, setting)
    while True:
        try:
            steps = connection.recv()
        except EOFError:
            return
        connection.send(turn(steps))


def plain(recipe: Recipe, workers: int) -> Turn:
    _, layers, widen = recipe.architecture.split("_")
    model, data = plain_cifar.WideResNet(int(layers), int(widen), drop_rate=recipe.dropout).train(), noise()
    optimiser = plain_cifar.make_optimiser(model, 0.1)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        plain_cifar.take_step(model, optimiser, images, labels)

    def turn(steps: int) -> float:
        batches = iter(plain_cifar.make_loader(data.train_images, data.train_labels, recipe.batch_size, workers))
        rate = timed(steps, recipe.batch_size, batches, step)
        del batches                                # its workers end with it and take nothing from the next turn
        gc.collect()
        return rate

    return turn


def ours(recipe: Recipe, side: int) -> Turn:
    fixed = recipe.model_copy(update={"sizes": ((0, side),)})
    data = CifarBatches(fixed, noise())
    keep_memory()                                  # as 'wrn train' does
    trainer = prepare(fixed, 10)
    trainer.model.train()

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        take_step(trainer, images, labels, 0.1)
        update_average(trainer, 0)

    return lambda steps: timed(steps, fixed.batch_size, data.training(0), step)


def timed(steps: int, batch: int, batches: Iterator, step: Callable[..., None]) -> float:
    """Images a second of ``steps`` steps, loading included, after a warm-up."""
    for _ in range(WARM_UP):
        step(*next(batches))
    started = time.perf_counter()
    for _ in range(steps):
        step(*next(batches))
    return steps * batch / (time.perf_counter() - started)


def measure(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    recipe = read_recipe(path)
    epochs: dict[int, int] = {}                    # side -> epochs at it
    for epoch in range(recipe.epochs):
        epochs[recipe.size_at(epoch)] = epochs.get(recipe.size_at(epoch), 0) + 1
    sides = sorted({SIDE, *epochs})
    with ExitStack() as stack:
        turns = [stack.enter_context(process(plain, recipe, args.workers))]
        turns += [stack.enter_context(process(ours, recipe, side)) for side in sides]
        rounds = play_rounds(turns, args)
    by_side = {side: [rates[1 + index] for rates in rounds] for index, side in enumerate(sides)}
    plain_rates = [rates[0] for rates in rounds]
    recipe_rates = [
        recipe.epochs / sum(count / by_side[side][turn] for side, count in epochs.items())
        for turn in range(args.rounds)
    ]
    return {
        "recipe": path.stem,
        "network": recipe.architecture,
        "batch_size": recipe.batch_size,
        "precision": recipe.precision,
        "images_per_s": {
            "plain": spread(plain_rates), "ours": {side: spread(rates) for side, rates in by_side.items()},
        },
        "ratio": spread([rate / plain_rate for rate, plain_rate in zip(by_side[SIDE], plain_rates, strict=True)]),
        "ratio_recipe": spread([rate / plain_rate for rate, plain_rate in zip(recipe_rates, plain_rates, strict=True)]),
    }


def play_rounds(turns: Sequence[Turn], args: argparse.Namespace) -> list[dict[int, float]]:
    """Of each round, the images a second of each turn, by its index."""
    rounds: list[dict[int, float]] = [{} for _ in range(args.rounds)]
    players = [lambda turn=turn: turn(args.steps) for turn in turns]
    for count, (index, rate) in enumerate(take_turns(players, args.rounds, pause=0.2)):
        rounds[count // len(turns)][index] = rate
    return rounds


def spread(values: list[float]) -> dict[str, Any]:
    low, middle, high = (round(float(np.percentile(values, part)), 2) for part in (25, 50, 75))
    return {"median": middle, "quartiles": [low, high], "n": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path, help="of a wrn_N_K on CIFAR")
    parser.add_argument("--steps", type=int, default=12, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="of the plain script's DataLoader")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    facts = machine_facts()                        # of the load before there is any of ours
    document = {
        "schema": 1,
        "rows": [measure(path, args) for path in args.recipes],
        "settings": {"steps": args.steps, "rounds": args.rounds, "workers": args.workers},
        "machine": facts,
    }
    write_document(document, args.output)


def write_document(document: dict[str, Any], output: Path | None) -> None:
    """Print a document, and write it to ``output`` if there is one."""
    text = json.dumps(document, indent=1) + "\n"
    if output:
        output.write_text(text, "utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
