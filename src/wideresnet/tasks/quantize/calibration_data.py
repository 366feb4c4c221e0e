"""Which images calibrate an int8 model, and which judge it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wideresnet.datasets.annotated import find_annotated
from wideresnet.datasets.cifar import cifar_train, detect_cifar
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import fingerprint
from wideresnet.datasets.layout import Layout, evaluation_folder, holds_splits, list_folder, training_folder
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.open import INDEX_ENDINGS, open_labelled
from wideresnet.datasets.sample import balanced_sample
from wideresnet.datasets.shards import (
    HELD_OUT,
    TRAIN,
    ShardFiles,
    ShardImages,
    UnlabelledError,
    find_shards,
    labelled_shards,
)
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.files import describe_skipped, find_images
from wideresnet.records import Item, Labels, Skipped
from wideresnet.tasks.classify.classify import InputImages
from wideresnet.tasks.classify.dedupe import with_hash

LEAST, MOST = 100, 1000                            # images held out of the calibration
NEEDED = 2                                         # images at least to take ranges from


def calibration_pool(path: Path | None, labels: Labels) -> Sequence[Item]:
    """The images to calibrate with; of splits, CIFAR and shards, those to train on, where they are known.

    Of an index, what it lists. Raises ConfigError without any, DataError for a file that lists none and unclear splits.
    """
    if path is None:
        raise ConfigError("int8 needs calibration images", hint="give --calibration FOLDER, some hundred images")
    kind = detect_cifar(path, len(labels.names))
    if kind is not None:
        return cifar_train(path, kind).items
    if path.is_file() and path.suffix.lower() in INDEX_ENDINGS:
        return open_labelled(path, labels).items
    path = training_folder(path, labels).root
    try:
        if shards := find_shards(path):
            return labelled_shards(shards, labels, (TRAIN, *HELD_OUT)).items
        return labelled_folder(path, labels).items
    except DataError:
        images = InputImages([path])               # no class folders: any images will do
        items = list(images)
    if not items:
        hint = describe_skipped(images.skipped, str(path)) or "give --calibration FOLDER, some hundred images"
        raise ConfigError(f"no calibration images in {path}", hint)
    return items


def held_out(pool: Sequence[Item], samples: int) -> list[Item]:
    """Calibration images to judge by: the spare ones where ``samples`` leave ``LEAST``, else a third of all.

    The other two thirds are sampled of each class alike. Raises ConfigError where there are too few to divide.
    """
    spare = len(pool) - samples
    if spare >= LEAST:
        return balanced_sample(pool, min(spare, MOST))
    judging = max(spare, len(pool) // 3)
    if len(pool) - judging < NEEDED or not judging:
        raise ConfigError(
            f"calibration and gate cannot share {len(pool)} images, {NEEDED + 1} are the fewest",
            hint="give more with --calibration (some hundred), others with --data, or --gate none to go without",
        )
    calibrating = set(map(id, balanced_sample(pool, len(pool) - judging)))
    return [item for item in pool if id(item) not in calibrating]


def notes_on_counts(asked: int, used: int, pool: int, judged: int) -> Iterator[str]:
    """What became of fewer calibration images than were asked for, or than leave enough to judge.

    Of ``pool`` images ``used`` calibrated where ``asked`` were to, and ``judged`` (0 with others) judged.
    """
    if judged and pool - asked < LEAST:
        parts = " (two thirds, one third)" if pool - asked <= pool // 3 else ""
        few = f"{pool} images are too few for {asked} to calibrate and {LEAST} to judge"
        yield f"{few}: {used} calibrate, {judged} judge{parts}"
    elif used < asked:
        yield f"{asked} calibration images were asked for, {used} could be used"


def notes_on_images(calibrating: Sequence[Item], judging: Sequence[Item]) -> Iterator[str]:
    """What the images that calibrate, and those that judge, let a gate miss."""
    if len({item.label for item in calibrating}) == 1 and calibrating[0].label is not None:
        yield "all calibration images are of one class: ranges of activations are measured on that one"
    if count := count_shared(calibrating, judging):
        yield f"{count} images calibrated and judged, so that the gate is optimistic"


def count_shared(calibrating: Sequence[Item], judging: Sequence[Item]) -> int:
    """How many of ``judging`` are also among ``calibrating``, by their bytes; of other sizes nothing is read."""
    looks = {fingerprint(item) for item in calibrating}
    contents = {with_hash(item)[0] for item in calibrating}
    return sum(fingerprint(item) in looks and with_hash(item)[0] in contents for item in judging)


def gate_images(path: Path, labels: Labels) -> tuple[str, Sequence[Item]]:
    """The images at ``path`` and what they are called; labelled where they are CIFAR's, in class folders or shards.

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
    images = InputImages([path])
    items = list(images)
    if not items:
        hint = describe_skipped(images.skipped, str(path)) or "a gate needs some hundred"
        raise DataError(f"{path} holds no images", hint)
    return path.resolve().name, items


def holds_both_sets(path: Path, labels: Labels) -> bool:
    """Whether ``calibration_pool`` and ``gate_images`` find different images at ``path``, to train and to test."""
    shards = find_shards(path)
    if shards or detect_cifar(path) is not None:
        return not shards or (TRAIN in shards.splits and any(split in shards.splits for split in HELD_OUT))
    return path.is_dir() and holds_splits(path, labels)


def passed_over(calibration: Path | None, data: Path | None, labels: Labels) -> Skipped:
    """What the two folders hold besides the images of ``calibration_pool`` and ``gate_images``, and which split."""
    pool = _passed_over(calibration, training_folder, (TRAIN, *HELD_OUT), labels) if calibration else Skipped()
    judges = _passed_over(data, evaluation_folder, HELD_OUT, labels) if data else Skipped()
    return pool if calibration == data and pool == judges else pool + judges    # the same images count once


def _passed_over(
    path: Path, folder_of: Callable[[Path, Labels], Layout], splits: Sequence[str], labels: Labels
) -> Skipped:
    if shards := find_shards(path):
        return _in_shards(shards, splits, labels)
    if not path.is_dir() or detect_cifar(path) is not None:
        return Skipped()
    layout = folder_of(path, labels)
    files = find_images([layout.root])
    deque(files, maxlen=0)
    return layout.skipped + files.skipped


def _in_shards(shards: ShardFiles, splits: Sequence[str], labels: Labels) -> Skipped:
    """What shards hold besides the images that are read as those of ``splits``, or all without classes."""
    try:
        return labelled_shards(shards, labels, splits).skipped
    except DataError:
        images = ShardImages(shards)
        deque(images, maxlen=0)
        return images.skipped
