"""A small ILSVRC2012 for tests: true names and true classes of its first images, and the devkit's two files."""

from __future__ import annotations

import io
import tarfile
from functools import cache
from pathlib import Path

from mat5 import write_structs
from wideresnet.datasets.labels import read_labels

# The classes of images 1 to 6 by the sorted WordNet ids, as Caffe's val.txt begins.
FIRST = {1: 65, 2: 970, 3: 230, 4: 809, 5: 516, 6: 57}
WNIDS = read_labels("imagenet").ids


def name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def devkit_number(index: int) -> int:
    """Made up, but as little in the order of the ids as the true ones: 1 to 1000."""
    return index * 7 % 1000 + 1


@cache
def meta(classes: int = 1000) -> bytes:
    """A ``meta.mat`` of as many leaves, in the order of the devkit's numbers, and one inner synset."""
    leaves = sorted((devkit_number(index), wnid) for index, wnid in enumerate(WNIDS[:classes]))
    rows = [{"ILSVRC2012_ID": number, "WNID": wnid, "words": "a", "num_children": 0} for number, wnid in leaves]
    inner = {"ILSVRC2012_ID": 1001, "WNID": "n00001740", "words": "entity", "num_children": 2}
    return write_structs("synsets", [*rows, inner])


def truth() -> str:
    return "".join(f"{devkit_number(index)}\n" for index in FIRST.values())


def devkit_folder(folder: Path) -> Path:
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(meta())
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth())
    return data.parent


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:      # type: ignore[call-overload]
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def devkit_archive(folder: Path) -> Path:
    data = "ILSVRC2012_devkit_t12/data"
    files = {
        f"{data}/ILSVRC2012_validation_ground_truth.txt": truth().encode(),
        f"{data}/meta.mat": meta(),
        "ILSVRC2012_devkit_t12/readme.txt": b"read me",
    }
    return tar(folder / "ILSVRC2012_devkit_t12.tar.gz", files, "w:gz")


def flat(folder: Path, numbers: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> Path:
    """Images without labels; each holds its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / name(number)).write_bytes(name(number).encode())
    return folder


def val_archive(folder: Path) -> Path:
    return tar(folder / "ILSVRC2012_img_val.tar", {name(number): name(number).encode() for number in FIRST})


def by_class(folder: Path) -> Path:
    for number, index in FIRST.items():
        flat(folder / WNIDS[index], (number,))
    return folder
