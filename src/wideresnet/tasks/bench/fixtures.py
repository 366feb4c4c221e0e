"""What a benchmark needs at hand: the models in every precision asked for, in memory and on disk, and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from wideresnet.bundle import Bundle, write_bundle
from wideresnet.bundle.derive import as_float32
from wideresnet.datasets.sample import balanced_sample
from wideresnet.errors import BundleError, ConfigError, WrnError
from wideresnet.images.files import no_images_error
from wideresnet.images.loader import load_crop
from wideresnet.images.noise import noise
from wideresnet.pipes import special_kind
from wideresnet.records import Item, Skipped
from wideresnet.tasks.bench.candidates import Contestant, open_contestant
from wideresnet.tasks.bench.options import Asked, BenchSettings, Entry, entries
from wideresnet.tasks.classify.classify import InputImages
from wideresnet.tasks.quantize.compile import in_precision

CALIBRATION = 16                                   # images for an int8 graph that only has to be fast


@dataclass
class Lab:
    """``skipped`` collects contestants that cannot take part, and why. Temporary files go to ``folder``."""

    settings: BenchSettings
    bundles: Sequence[Bundle]
    folder: Path
    skipped: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, Asked], Bundle] = field(default_factory=dict)
    skipped_files: Skipped = field(default_factory=Skipped)

    @cached_property
    def items(self) -> list[Item]:
        """The images of ``--data``. Raises ConfigError when there are none in it, and for what is no file."""
        if self.settings.data is None:
            return []
        images = InputImages([self.settings.data])
        items = list(images)
        if not items:
            raise no_images_error(str(self.settings.data), images.skipped)
        for item in items:
            if not isinstance(item.source, Path):
                raise ConfigError(f"{item.path} is no image file", hint="--data takes a folder of image files")
            if kind := special_kind(Path(item.path)):
                raise ConfigError(f"{item.path} is not a regular file: {kind}", hint="move it away: files are measured")
        self.skipped_files = images.skipped
        return items

    def paths(self, count: int) -> list[str]:
        """The first images as file names, for another process."""
        return [item.path for item in self.items[:count]]

    def asked(self) -> list[Entry]:
        """Every contestant there should be."""
        return [e for b in self.bundles for e in entries(b.card.name, b.card.precision, self.settings)]

    def open(self, asked: Sequence[Entry]) -> list[Contestant]:
        """Those that can take part, ready to run; the others are in ``skipped``.

        Raises the first one's WrnError when none can.
        """
        opened, first = [], None
        for entry in asked:
            try:
                out = self.folder / "answers.jsonl"
                opened.append(open_contestant(entry, self.model(entry), self.items, out))
            except WrnError as error:
                first = first or error
                self.skipped[entry.name] = error.message
        if first and not opened:
            raise first
        return opened

    def model(self, entry: Entry) -> Bundle:
        """The entry's model, in the precision it wants; made once. Raises WrnError when that cannot be."""
        key = (entry.model, entry.precision)
        if key not in self.made:
            given = next(bundle for bundle in self.bundles if bundle.card.name == entry.model)
            self.made[key] = self._in_precision(given, entry.precision)
        return self.made[key]

    def note(self, entry: Entry) -> str:
        """What a reader must know of the entry's model."""
        if self.model(entry) in self.bundles:
            return ""
        source = f"{min(CALIBRATION, len(self.items))} images" if self.items else "noise"
        return f"quantised in memory with {source}; its accuracy is unknown"

    def on_disk(self, entry: Entry) -> Path:
        """The entry's model as a bundle that another process can read."""
        folder = self.folder / f"{entry.model.replace('/', '_')}-{entry.precision}"
        if not folder.exists():
            write_bundle(folder, self.model(entry))
        return folder

    def _in_precision(self, given: Bundle, precision: Asked) -> Bundle:
        stored = given.card.precision
        if (stored == "int8") == (precision == "int8"):
            return given
        if stored == "int8":
            raise BundleError(f"{given.card.name} is stored in int8 and cannot run in {precision}")
        spec = given.card.preprocess
        sample = balanced_sample(self.items, CALIBRATION)
        crops = [load_crop(item, spec) for item in sample] or list(noise(spec.crop))
        made = in_precision(as_float32(given), "int8", crops, [item.path for item in sample])
        return replace(made, card=replace(made.card, name=given.card.name))
