"""Which pictures calibrate an int8 model, and which judge it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wideresnet.data.annotated import find_annotated
from wideresnet.data.cifar import cifar_train, detect_cifar
from wideresnet.data.folder import labelled_folder
from wideresnet.data.lookup import ClassLookup
from wideresnet.data.open import INDEX_ENDINGS, open_labelled
from wideresnet.data.sample import balanced_sample
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Item, Labels
from wideresnet.tasks.classify import pictures

LEAST, MOST = 100, 1000                            # pictures held out of the calibration


def calibration_pool(path: Path | None, labels: Labels) -> Sequence[Item]:
    """The pictures to calibrate with; of a CIFAR archive, its training pictures. Raises ConfigError without any."""
    if path is None:
        raise ConfigError("int8 needs calibration pictures", hint="give --calibration FOLDER, some hundred pictures")
    kind = detect_cifar(path)
    if kind is not None:
        return cifar_train(path, kind).items
    if path.is_file() and path.suffix.lower() in INDEX_ENDINGS:
        return open_labelled(path, labels).items
    try:
        return labelled_folder(path, labels).items
    except DataError:
        found = list(pictures([path]))             # no class folders: any pictures will do
    if not found:
        raise ConfigError(f"no calibration pictures in {path}", hint="give --calibration FOLDER, some hundred pictures")
    return found


def held_out(pool: Sequence[Item], samples: int) -> list[Item]:
    """Calibration pictures to judge by, where there are more than the ``samples`` needed.

    Raises ConfigError where there are not.
    """
    spare = len(pool) - samples
    if spare < LEAST:
        raise ConfigError(
            f"the gate needs pictures: of {len(pool)} for calibration, {samples} are asked for",
            hint=f"give --data (labelled or not), --samples that leave {LEAST}, or --gate none to go without",
        )
    return balanced_sample(pool, min(spare, MOST))


def gate_pictures(path: Path, labels: Labels) -> tuple[str, Sequence[Item]]:
    """The pictures at ``path`` and what they are called; labelled where they are CIFAR's, or in class folders.

    Raises DataError when there are none, or when only some of the folders fit a class.
    """
    lookup = ClassLookup(labels, path)
    unlabelled = path.is_dir() and detect_cifar(path) is None and find_annotated(path) is None
    if unlabelled and all(lookup.find(file.name) is None for file in path.iterdir()):
        found = list(pictures([path]))
        if not found:
            raise DataError(f"{path} holds no pictures", hint="a gate needs some hundred")
        return path.resolve().name, found
    data = open_labelled(path, labels)
    return data.name, data.items
