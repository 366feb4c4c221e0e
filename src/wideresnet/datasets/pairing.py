"""Pairs of images and answers, by their paths and never by their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from wideresnet.datasets.text import nfc

Key = tuple[str, ...]


def pair_by_name(images: Collection[str], answers: Collection[str]) -> dict[str, str]:
    """Return the answer to each image that has one: ``val/n01/a.JPEG`` -> ``npz/n01/a.npz``.

    Paths are compared from their ends, in rounds: by the file's name without its ending; where several files have it,
    with the folder, then with the folder above, and so on. Composed and decomposed accents are equal. In further
    rounds the ending counts too, and in the last ones different forms of an accent. Two paths are a pair if no other
    path of their side has the same end. A path that stays ambiguous has no partner.
    """
    pairs: dict[str, str] = {}
    for parts_of in (without_ending, _parts, _raw_parts):
        depth, more = 0, True
        while more and len(pairs) < len(images):
            depth += 1
            taken = set(pairs.values())
            ours, theirs = _by_end(images, parts_of, depth), _by_end(answers, parts_of, depth)
            common = [key for key in ours if key in theirs]
            more = any(len(key) == depth for key in common)
            for image, answer in ((ours[key], theirs[key]) for key in common):
                if image and answer and image not in pairs and answer not in taken:
                    pairs[image] = answer
    return pairs


def pair_by_path(paths: Collection[str], candidates: Collection[str]) -> dict[str, str]:
    """Return the equal path among ``candidates`` for each of ``paths`` that has one.

    Composed and decomposed accents are equal, unless they alone tell two paths of one side apart.
    """
    composed = (times for side in (paths, candidates) for times in Counter(map(nfc, side)).items())
    doubled = {path for path, count in composed if count > 1}

    def key(path: str) -> str:
        return path if nfc(path) in doubled else nfc(path)

    by_key = {key(path): path for path in candidates}
    return {path: by_key[key(path)] for path in paths if key(path) in by_key}


def folder_of(path: str) -> str:
    """Return the name of the folder that contains the file; empty if the path names none."""
    return _parts(path)[-2] if len(_parts(path)) > 1 else ""


def _by_end(paths: Iterable[str], parts_of: Callable[[str], Key], depth: int) -> dict[Key, str]:
    """Return the path by its last ``depth`` parts, or an empty text where several paths have the same."""
    ends = {path: parts_of(path)[-depth:] for path in paths}
    times = Counter(ends.values())
    return {end: path if times[end] == 1 else "" for path, end in ends.items()}


def _raw_parts(path: str) -> Key:
    return tuple(path.replace("\\", "/").split("/"))


def _parts(path: str) -> Key:
    return _raw_parts(nfc(path))


def without_ending(path: str) -> Key:
    """Return the parts of a path with accents composed, the file's name without its ending."""
    *folders, name = _parts(path)
    stem, dot, _ = name.rpartition(".")
    return *folders, stem if dot and stem else name
