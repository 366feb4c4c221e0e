"""Which pictures calibrate an int8 model, and which judge it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from wideresnet.data.annotated import find_annotated
from wideresnet.data.cifar import cifar_train, detect_cifar
from wideresnet.data.folder import labelled_folder
from wideresnet.data.layout import evaluation_folder, list_folder, training_folder
from wideresnet.data.lookup import ClassLookup
from wideresnet.data.open import INDEX_ENDINGS, open_labelled
from wideresnet.data.sample import balanced_sample
from wideresnet.data.shards import HELD_OUT, TRAIN, UnlabelledError, find_shards, labelled_shards
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.files import describe_skipped, find_pictures
from wideresnet.records import Item, Labels, Skipped
from wideresnet.tasks.classify import pictures

LEAST, MOST = 100, 1000                            # pictures held out of the calibration


def calibration_pool(path: Path | None, labels: Labels) -> Sequence[Item]:
    """The pictures to calibrate with; of splits, CIFAR and shards, those to train on, where they are known.

    Raises ConfigError without any.
    """
    if path is None:
        raise ConfigError("int8 needs calibration pictures", hint="give --calibration FOLDER, some hundred pictures")
    kind, passed = detect_cifar(path, len(labels.names)), list[Skipped]()
    if kind is not None:
        return cifar_train(path, kind).items
    if path.is_file() and path.suffix.lower() in INDEX_ENDINGS:
        return open_labelled(path, labels).items
    path = training_folder(path, labels).root
    try:
        if find_shards(path):
            return labelled_shards(path, labels, (TRAIN, *HELD_OUT)).items
        return labelled_folder(path, labels).items
    except DataError:
        found = list(pictures([path], passed))     # no class folders: any pictures will do
    if not found:
        hint = describe_skipped(sum(passed, Skipped()), str(path)) or "give --calibration FOLDER, some hundred pictures"
        raise ConfigError(f"no calibration pictures in {path}", hint)
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
    """The pictures at ``path`` and what they are called; labelled where they are CIFAR's, in class folders or shards.

    Of splits those of the validation or test split.
    Raises DataError when there are none, or when only some of the folders fit a class.
    """
    lookup = ClassLookup(labels, path)
    loose = False
    if path.is_dir() and not (detect_cifar(path) or find_shards(path) or find_annotated(path)):
        path = evaluation_folder(path, labels).root
        loose = all(lookup.find(name) is None for name in list_folder(path).folders)
    if not loose:
        try:
            data = open_labelled(path, labels)
            return data.name, data.items
        except UnlabelledError:                    # they can still be compared
            pass
    passed: list[Skipped] = []
    found = list(pictures([path], passed))
    if not found:
        hint = describe_skipped(sum(passed, Skipped()), str(path)) or "a gate needs some hundred"
        raise DataError(f"{path} holds no pictures", hint)
    return path.resolve().name, found


def holds_both_sets(path: Path) -> bool:
    """Whether ``calibration_pool`` and ``gate_pictures`` find different images at ``path``, to train and to test."""
    shards = find_shards(path)
    return detect_cifar(path) is not None or (TRAIN in shards and any(split in shards for split in HELD_OUT))


def passed_over(calibration: Path | None, data: Path | None, labels: Labels) -> Skipped:
    """What the two folders hold besides the pictures of ``calibration_pool`` and ``gate_pictures``, and which split."""
    skipped = Skipped()
    for path, folder_of in ((calibration, training_folder), (data, evaluation_folder)):
        if path and path.is_dir() and detect_cifar(path) is None and not find_shards(path):
            layout = folder_of(path, labels)
            files = find_pictures([layout.root])
            deque(files, maxlen=0)
            skipped += layout.skipped + files.skipped
    return skipped
