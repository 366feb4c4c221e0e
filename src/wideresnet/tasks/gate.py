"""Which pictures calibrate an int8 model, and which judge it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from wideresnet.data.cifar import cifar_train, detect_cifar
from wideresnet.data.folder import labelled_folder
from wideresnet.data.open import open_labelled
from wideresnet.data.sample import balanced_sample
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Item, Labels
from wideresnet.tasks.classify import pictures

LEAST, MOST = 100, 1000                            # pictures held out of the calibration
NEEDED = 2                                         # images at least to take ranges from


def calibration_pool(path: Path | None, labels: Labels) -> Sequence[Item]:
    """The pictures to calibrate with; of a CIFAR archive, its training pictures; of an index, what it lists.

    Raises ConfigError without any, and DataError for a file that lists none.
    """
    if path is None:
        raise ConfigError("int8 needs calibration pictures", hint="give --calibration FOLDER, some hundred pictures")
    kind = detect_cifar(path)
    if kind is not None:
        return cifar_train(path, kind).items
    if path.is_file():
        return open_labelled(path, labels).items
    try:
        return labelled_folder(path, labels).items
    except DataError:
        found = list(pictures([path]))             # no class folders: any pictures will do
    if not found:
        raise ConfigError(f"no calibration pictures in {path}", hint="give --calibration FOLDER, some hundred pictures")
    return found


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
    sizes = {_size(item) for item in calibrating}
    contents = {_content(item) for item in calibrating}
    return sum(_size(item) in sizes and _content(item) in contents for item in judging)


def _size(item: Item) -> int:
    if isinstance(item.source, Path):
        return item.source.stat().st_size if item.source.is_file() else -1
    return len(bytes(item.source))


def _content(item: Item) -> bytes:
    """A hash of the encoded image or its pixels; nothing where it cannot be read, which is reported elsewhere."""
    try:
        data = item.source.read_bytes() if isinstance(item.source, Path) else bytes(item.source)
    except OSError:
        return b""
    return hashlib.blake2b(data, digest_size=16).digest()


def gate_pictures(path: Path, labels: Labels) -> tuple[str, Sequence[Item]]:
    """The pictures at ``path`` and what they are called; labelled where they are CIFAR's, or in class folders.

    Raises DataError when there are none, or when only some of the folders fit a class.
    """
    known = {*labels.ids, *labels.names, *map(str, range(len(labels.names)))}
    if path.is_dir() and detect_cifar(path) is None and not any(each.name in known for each in path.iterdir()):
        found = list(pictures([path]))
        if not found:
            raise DataError(f"{path} holds no pictures", hint="a gate needs some hundred")
        return path.resolve().name, found
    data = open_labelled(path, labels)
    return data.name, data.items
