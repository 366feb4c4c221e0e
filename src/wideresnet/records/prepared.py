"""What was found when labelled data was made ready."""

from __future__ import annotations

from dataclasses import dataclass, field

from wideresnet.records.skipped import Skipped


@dataclass(frozen=True)
class PreparedData:
    """A labelled set that was checked and written down. Nothing in ``left_out`` is in the index."""

    name: str                                      # "ImageNet val"
    index: str                                     # the file that was written
    pictures: int                                  # in the index
    official: int                                  # images of the whole set
    classes: int                                   # with at least one image in the index
    full_classes: int                              # with as many as in the whole set
    labels_from: tuple[str, ...]                   # every source that was read; they agree
    absent: tuple[str, ...] = ()                   # names of the set that no image has
    left_out: tuple[str, ...] = ()                 # images that are not of the set, or that no source labels
    extracted: int = 0                             # taken out of an archive in this run
    linked: int = 0                                # hard links made in class folders in this run
    copied: int = 0                                # copies made where no hard link can be
    folders: str = ""                              # the class folders, where they were asked for
    skipped: Skipped = field(default_factory=Skipped)        # in the folders of images

    @property
    def whole(self) -> bool:
        """Whether this is the whole set and nothing else."""
        return self.pictures == self.official and not self.left_out
