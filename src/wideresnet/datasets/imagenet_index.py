"""A checked index of ImageNet's validation set (and class folders on request) from any of its sources."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from wideresnet.datasets import imagenet
from wideresnet.datasets.ground_truth import NUMBERED
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.tar import open_tar
from wideresnet.errors import ConfigError, DataError, os_errors_as
from wideresnet.output.atomic import atomic_path, check_not_input, save_text
from wideresnet.output.row_format import csv_line
from wideresnet.records import Progress
from wideresnet.records.prepared import PreparedData
from wideresnet.report.escape import cell_text

Placement = Literal["linked", "copied", "present"]


def prepare_imagenet(
    paths: Sequence[Path], index: Path, *, extract: Path | None = None, folders: Path | None = None
) -> Generator[Progress, None, PreparedData]:
    """Write ``index`` (CSV: ``path,index,wnid``) of ILSVRC2012's validation images among ``paths``.

    ``paths`` hold images and, if these are not in class folders, labels (see ``datasets.imagenet``); several sources of
    labels must agree. ``extract`` is the folder for the images in tar archives: images that are there are kept, so that
    a stopped run continues. ``folders`` gets class folders of hard links, or of copies where the file system has no
    hard links; no file is overwritten. Raises ConfigError and DataError.
    """
    check_not_input(index, paths)
    sources = [imagenet.open_source(path) for path in paths]
    if extract and not any(source.archive for source in sources):
        raise ConfigError("--extract has no effect: no source is an archive of images", hint="leave out --extract")
    roots, extracted = yield from _image_folders(sources, extract)
    yield Progress("looking for images", 0, 0)
    val_images = imagenet.find_val_images(dict.fromkeys(roots))
    images = val_images.by_number
    if not images:
        raise DataError(f"no ILSVRC2012_val_*.JPEG in {', '.join(map(str, paths))}", hint=_NO_IMAGES)
    labels_by_source = imagenet.all_labels(sources, images)
    labels = imagenet.merge_labels(labels_by_source)
    chosen = {number: path for number, path in images.items() if number in labels}
    counts = imagenet.check_counts({number: labels[number] for number in chosen})
    save_text(index, index_text(chosen, labels, index.parent))
    placements: list[Placement] = []
    for placement in place_in_folders(chosen, labels, folders) if folders else ():
        placements.append(placement)
        yield Progress("making class folders", len(placements), len(chosen))
    return PreparedData(
        name="ImageNet val",
        index=str(index),
        pictures=len(chosen),
        official=imagenet.IMAGES,
        classes=len(counts),
        full_classes=sum(count == imagenet.PER_CLASS for count in counts.values()),
        labels_from=tuple(labels_by_source),
        absent=tuple(NUMBERED.format(number) for number in range(1, imagenet.IMAGES + 1) if number not in images),
        left_out=(*val_images.other_images, *(str(path) for number, path in images.items() if number not in labels)),
        extracted=extracted,
        linked=placements.count("linked"),
        copied=placements.count("copied"),
        folders=str(folders) if folders else "",
        skipped=val_images.skipped,
    )


_NO_IMAGES = "name the folder of the images, or ILSVRC2012_img_val.tar with --extract DIR"


def _image_folders(
    sources: Sequence[imagenet.Source], extract: Path | None
) -> Generator[Progress, None, tuple[list[Path], int]]:
    """Extract archives; return the folders of the images and the number of images extracted."""
    roots = [source.path.resolve() for source in sources if source.images]
    extracted = 0
    for source in sources:
        if source.archive:
            if extract is None:
                hint = f"add --extract DIR; the images take {source.path.stat().st_size / 1e9:.1f} GB there"
                raise ConfigError(f"{source.path} is an archive, and nothing is extracted without --extract", hint)
            roots.append(extract.resolve())
            for done, new in enumerate(extract_val(source.path, extract), start=1):
                extracted += new
                yield Progress(f"extracting {source.path.name}", done, imagenet.IMAGES)
    return roots, extracted


def index_text(images: Mapping[int, Path], labels: Mapping[int, int], folder: Path) -> str:
    """Return the index of ``images`` as CSV, with paths relative to ``folder`` where the system has such."""
    wnids = read_labels("imagenet").ids
    start = folder.resolve()
    rows = (
        (cell_text(_relative(path, start)), labels[number], wnids[labels[number]]) for number, path in images.items()
    )
    return "".join(map(csv_line, (("path", "index", "wnid"), *rows)))


def extract_val(archive: Path, folder: Path) -> Iterator[bool]:
    """Extract the images of the set from a tar archive; yield for each whether it is new.

    Names in the archive decide only the name of a file, and its class folder if that is a WordNet id: nothing is
    written outside ``folder``. A file has its name only when it is complete. Raises DataError.
    """
    wnids = set(read_labels("imagenet").ids)
    hint = "run the same command again to continue: extracted images are kept"
    with os_errors_as(DataError, f"cannot extract {archive} to {folder}", hint), open_tar(archive) as members:
        for member in members:
            name = PurePosixPath(member.name)
            if not (member.isfile() and imagenet.number_of(name.name)):
                continue
            parent = name.parent.name if name.parent.name in wnids else ""
            target = folder / parent / name.name
            new = not (target.is_file() and target.stat().st_size == member.size)
            stream = members.extractfile(member)
            if new and stream is not None:
                with atomic_path(target, fsync=False) as part, part.open("wb") as file:
                    shutil.copyfileobj(stream, file)
            yield new


def place_in_folders(images: Mapping[int, Path], labels: Mapping[int, int], folder: Path) -> Iterator[Placement]:
    """Place each image in ``folder``/WNID. Raises DataError for an existing file with another content."""
    wnids = read_labels("imagenet").ids
    for number, path in images.items():
        target = folder / wnids[labels[number]] / path.name
        with os_errors_as(DataError, f"cannot write {target}"):
            yield _link_or_copy(path, target)


def _link_or_copy(source: Path, target: Path) -> Placement:
    if os.path.lexists(target):
        if not (target.exists() and (target.samefile(source) or filecmp.cmp(source, target, shallow=False))):
            problem = f"{target} exists and differs from {source}"
            raise DataError(problem, hint="nothing is overwritten; name an empty folder with --folders")
        return "present"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
        return "linked"
    except OSError:                                # another disk, or a file system without hard links
        with atomic_path(target, fsync=False) as part:
            shutil.copyfile(source, part)
        return "copied"


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:                             # another drive
        return str(path)
