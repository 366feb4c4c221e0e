"""The cost of augmentation: its share of a training step, for each setting.

    python benchmarks/augment_cost.py wrn-16-1-cifar10-short -o benchmarks/results/training/DAY-augment.json

Batches of noise are cropped and changed at 32 pixels, resized to ``--side`` and trained on, with every CPU; the
settings take turns in one process. ``share`` is the time of making a batch over that of a complete step, ``added`` the
share of what the setting adds to crops and flips. Medians and quartiles over the rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from train_speed import SIDE, WARM_UP, noise, spread, write_document

from wideresnet.machine import machine_facts
from wideresnet.training.batches import CifarBatches
from wideresnet.training.loop import Trainer, prepare, take_step, update_average
from wideresnet.training.memory import keep_memory
from wideresnet.training.recipe import read_recipe

PLAIN = "crops and flips"
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "erasing": {"erasing": 0.5},
    "cutout": {"cutout": 8},
    "jitter": {"jitter": 0.4},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "trivial": {"trivial": True},
    "randaugment": {"randaugment": 2},
    "trivial, cutout, mixup and cutmix": {"trivial": True, "cutout": 8, "mixup": 0.2, "cutmix": 1.0},
}


def time_steps(trainer: Trainer, batches: CifarBatches, steps: int) -> tuple[float, float]:
    """Return the median milliseconds of making a batch and of training on it."""
    source, made, trained = batches.training(0), [], []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        batch = next(source)
        between = time.perf_counter()
        take_step(trainer, *batch, 0.1)
        update_average(trainer, 0)
        made.append(1e3 * (between - started))
        trained.append(1e3 * (time.perf_counter() - between))
    return median(made[WARM_UP:]), median(trained[WARM_UP:])


def measure(recipe_path: Path, args: argparse.Namespace) -> dict[str, Any]:
    recipe = read_recipe(recipe_path).model_copy(update={"sizes": ((0, args.side),)})
    data = noise()
    trainer = prepare(recipe, 10)
    trainer.model.train()
    batches = {name: CifarBatches(recipe.model_copy(update=changes), data) for name, changes in SETTINGS.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    for _ in range(args.rounds):
        for name in SETTINGS:
            times[name].append(time_steps(trainer, batches[name], args.steps))
    plain = np.array(times[PLAIN])[:, 0]
    rows = {}
    for name, values in times.items():
        made, trained = np.array(values).T
        rows[name] = {
            "settings": SETTINGS[name],
            "batch_ms": spread(made.tolist()),
            "train_ms": spread(trained.tolist()),
            "share_percent": spread((100 * made / (made + trained)).tolist()),
            "added_percent": spread((100 * (made - plain) / (made + trained)).tolist()),
        }
    return {"recipe": recipe_path.stem, "network": recipe.architecture, "batch_size": recipe.batch_size, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path, help="of CIFAR-10")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels that the network sees")
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    facts = machine_facts()                        # of the load before there is any of ours
    keep_memory()
    document = {
        "schema": 1,
        "networks": [measure(path, args) for path in args.recipes],
        "settings": {"side": args.side, "steps": args.steps, "rounds": args.rounds},
        "machine": facts,
    }
    write_document(document, args.output)


if __name__ == "__main__":
    main()
