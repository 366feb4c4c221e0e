"""The result of preparing labelled data."""

from __future__ import annotations

from dataclasses import dataclass, field

from wideresnet.records.skipped import Skipped


@dataclass(frozen=True)
class PreparedData:
    """A labelled set that was checked and indexed. Images in ``left_out`` are not in the index."""

    name: str                                      # "ImageNet val"
    index: str                                     # the file that was written
    pictures: int                                  # in the index
    official: int                                  # images of the complete set
    classes: int                                   # with at least one image in the index
    full_classes: int                              # with as many as in the complete set
    labels_from: tuple[str, ...]                   # every source that was read; they agree
    absent: tuple[str, ...] = ()                   # names of the set that no image has
    left_out: tuple[str, ...] = ()                 # images that are not of the set, or that no source labels
    extracted: int = 0                             # taken out of an archive in this run
    linked: int = 0                                # hard links made in class folders in this run
    copied: int = 0                                # copies made where hard links are impossible
    folders: str = ""                              # the class folders, if requested
    skipped: Skipped = field(default_factory=Skipped)        # in the folders of images

    @property
    def whole(self) -> bool:
        """True if this is exactly the complete set."""
        return self.pictures == self.official and not self.left_out
