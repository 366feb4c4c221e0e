"""Images for the calibration of an int8 model, and for its accuracy gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wideresnet.bundle import Bundle
from wideresnet.datasets import shards as sharded
from wideresnet.datasets.annotated import find_annotated
from wideresnet.datasets.cifar import cifar_train, detect_cifar
from wideresnet.datasets.copies import count_shared
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.layout import Layout, evaluation_folder, holds_splits, list_folder, training_folder
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.open import INDEX_ENDINGS, open_labelled
from wideresnet.datasets.orientation import orientation_notes
from wideresnet.datasets.sample import balanced_sample
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.files import describe_skipped
from wideresnet.records import Item, Labels
from wideresnet.tasks.classify.sources import InputImages
from wideresnet.tasks.evaluate.training_images import run_indices, training_images

MIN_GATE_IMAGES, MAX_GATE_IMAGES = 100, 1000       # held out of the calibration images
MIN_CALIBRATION_IMAGES = 2


def calibration_pool(path: Path | None, labels: Labels) -> LabelledData:
    """Open the images to calibrate with: of splits, CIFAR and shards the training split, of an index all.

    Items have no label where the images have none. Raises ConfigError if there are no images, DataError for a file that
    lists none and for ambiguous splits.
    """
    if path is None:
        raise ConfigError("int8 needs calibration images", hint="give --calibration FOLDER, a few hundred images")
    kind = detect_cifar(path, len(labels.names))
    if kind is not None:
        return cifar_train(path, kind)
    if path.is_file() and path.suffix.lower() in INDEX_ENDINGS:
        return open_labelled(path, labels)
    layout = training_folder(path, labels)
    shards = sharded.find_shards(layout.root)
    try:
        if shards:
            return sharded.labelled_shards(shards, labels, (sharded.TRAIN, *sharded.HELD_OUT))
        data = labelled_folder(layout.root, labels)
    except DataError:
        data = _open_unlabelled(layout.root, labels)       # no class folders: labels are not needed
    if not data.items:
        hint = describe_skipped(data.skipped, str(path)) or "give --calibration FOLDER, a few hundred images"
        raise ConfigError(f"no calibration images in {layout.root}", hint)
    return data if shards else replace(data, skipped=layout.skipped + data.skipped)


def hold_out(pool: Sequence[Item], samples: int) -> list[Item]:
    """Return the calibration images to use for the gate: those beyond ``samples`` if there are enough, else a third.

    The other two thirds are a sample balanced over the classes. Raises ConfigError if there are too few to divide.
    """
    spare = len(pool) - samples
    if spare >= MIN_GATE_IMAGES:
        return balanced_sample(pool, min(spare, MAX_GATE_IMAGES))
    count = max(spare, len(pool) // 3)
    if len(pool) - count < MIN_CALIBRATION_IMAGES or not count:
        raise ConfigError(
            f"calibration and gate cannot share {len(pool)} images, {MIN_CALIBRATION_IMAGES + 1} are the fewest",
            hint="give more with --calibration (a few hundred), others with --data, or --gate none to go without",
        )
    calibration = set(map(id, balanced_sample(pool, len(pool) - count)))
    return [item for item in pool if id(item) not in calibration]


def notes_on_counts(requested: int, used: int, pool: int, held_out: int) -> Iterator[str]:
    """Yield a note if there were too few calibration images.

    Of ``pool`` images, ``used`` of the ``requested`` calibrated, and ``held_out`` were for the gate (0: it had others).
    """
    if held_out and pool - requested < MIN_GATE_IMAGES:
        fractions = " (two thirds, one third)" if pool - requested <= pool // 3 else ""
        few = f"{pool} images are too few for calibration with {requested} and a gate with {MIN_GATE_IMAGES}"
        yield f"{few}: {used} calibrate, {held_out} are for the gate{fractions}"
    elif used < requested:
        yield f"{requested} calibration images were requested, {used} could be used"


def notes_on_images(calibration: Sequence[Item], gate: Sequence[Item]) -> Iterator[str]:
    """Yield notes on calibration and gate images that make the gate less reliable."""
    if len({item.label for item in calibration}) == 1 and calibration[0].label is not None:
        yield "all calibration images are of one class: ranges of activations are measured on that one"
    if count := count_shared(calibration, gate):
        yield f"{count} images are in both calibration and gate, so that the gate is optimistic"


def gate_images(path: Path, labels: Labels) -> LabelledData:
    """Open the images to compare models on; of splits the validation or test split.

    They are labelled if they are CIFAR's, in class folders, or in shards with labels; others have items without label.
    Raises DataError if there are none, or if only some of the folders fit a class.
    """
    lookup = ClassLookup(labels, path)
    layout, is_labelled = Layout(path, {}), True
    if path.is_dir() and not (detect_cifar(path) or sharded.find_shards(path) or find_annotated(path)):
        layout = evaluation_folder(path, labels)
        is_labelled = any(lookup.find(name) is not None for name in list_folder(layout.root).folders)
    data = None
    if is_labelled:
        with suppress(sharded.UnlabelledError):    # the gate is then one of agreement
            data = open_labelled(layout.root, labels)
    data = data or _open_unlabelled(layout.root, labels)
    if not data.items:
        hint = describe_skipped(data.skipped, str(layout.root)) or "give a few hundred images for the gate"
        raise DataError(f"{layout.root} holds no images", hint)
    return replace(data, skipped=layout.skipped + data.skipped)


def _open_unlabelled(path: Path, labels: Labels) -> LabelledData:
    """Return the images in a folder or shards as items without label."""
    images = InputImages([path])
    return LabelledData(path.resolve().name, list(images), len(labels.names), skipped=images.skipped)


@dataclass(frozen=True, eq=False)
class GateImages:
    """The images of an accuracy gate out of the set ``data``; ``notes`` say what was assumed or left out."""

    data: LabelledData
    items: Sequence[Item]
    notes: tuple[str, ...] = ()


def open_gate_images(path: Path, model: Bundle) -> GateImages:
    """Open the images of the gate of ``model``. Raises what ``gate_images`` and ``without_training_images`` do."""
    data = gate_images(path, model.labels)
    items, notes = without_training_images(model, data.items)
    return GateImages(data, items, (*data.notes, *notes, *orientation_notes(data)))


def without_training_images(model: Bundle, items: Sequence[Item]) -> tuple[Sequence[Item], tuple[str, ...]]:
    """Return the images of a gate that the network was not trained on, and a note if there are others.

    Unlabelled images stay: they measure no accuracy. Raises DataError if no image remains.
    """
    trained = set(map(id, training_images(model, items))) if all(item.label is not None for item in items) else ()
    if not trained:
        return items, ()
    if len(trained) == len(items):
        problem = f"{model.card.name} was trained on all {len(items):,} images of the gate"
        run_data = run_indices(model)
        hint = "give others with --data" + (f", such as {run_data[1]}" if run_data else "")
        raise DataError(f"{problem}: accuracy on them means nothing", hint)
    note = f"{len(trained):,} of {len(items):,} gate images were left out: {model.card.name} was trained on them"
    return [item for item in items if id(item) not in trained], (note,)


def holds_both_sets(path: Path, labels: Labels) -> bool:
    """Return whether ``path`` has a training split for calibration and a held-out split for the gate."""
    if shards := sharded.find_shards(path):
        return sharded.TRAIN in shards.splits and any(split in shards.splits for split in sharded.HELD_OUT)
    if detect_cifar(path) is not None:
        return True
    return path.is_dir() and holds_splits(path, labels)
