"""Fixtures of a benchmark: models in every requested precision, in memory and on disk, and images."""

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
from wideresnet.pipes import check_regular
from wideresnet.records import Item, Skipped
from wideresnet.tasks.bench.candidates import Candidate, open_candidate
from wideresnet.tasks.bench.options import BenchPrecision, BenchSettings, Entry, entries
from wideresnet.tasks.classify.sources import InputImages
from wideresnet.tasks.quantize.compile import in_precision

CALIBRATION = 16                                   # images for an int8 graph that only has to be fast


@dataclass
class Fixtures:
    """Models and images of one run. ``skipped`` maps candidates that cannot run to the reason.

    Temporary files are in ``folder``; ``models`` are by name and precision.
    """

    settings: BenchSettings
    bundles: Sequence[Bundle]
    folder: Path
    skipped: dict[str, str] = field(default_factory=dict)
    models: dict[tuple[str, BenchPrecision], Bundle] = field(default_factory=dict)
    skipped_files: Skipped = field(default_factory=Skipped)

    @cached_property
    def items(self) -> list[Item]:
        """The images of ``--data``. Raises ConfigError if there are none, and for images that are not files."""
        if self.settings.data is None:
            return []
        images = InputImages([self.settings.data])
        items = list(images)
        if not items:
            raise no_images_error(str(self.settings.data), images.skipped)
        for item in items:
            if not isinstance(item.source, Path):
                raise ConfigError(f"{item.path} is not an image file", hint="give a folder of image files with --data")
            check_regular(item.source, ConfigError, hint="remove it from the folder")
        self.skipped_files = images.skipped
        return items

    def paths(self, count: int) -> list[str]:
        """Return the paths of the first ``count`` images, for another process."""
        return [item.path for item in self.items[:count]]

    def entries(self) -> list[Entry]:
        """Return every candidate that the settings select."""
        cards = [bundle.card for bundle in self.bundles]
        return [entry for card in cards for entry in entries(card.name, card.precision, self.settings)]

    def open(self, selected: Sequence[Entry]) -> list[Candidate]:
        """Open the candidates that can run; the others are added to ``skipped``.

        Raises the first WrnError if none can.
        """
        opened, first = [], None
        for entry in selected:
            try:
                opened.append(open_candidate(entry, self.model(entry), self.items, self.folder / "answers.jsonl"))
            except WrnError as error:
                first = first or error
                self.skipped[entry.name] = error.message
        if first and not opened:
            raise first
        return opened

    def model(self, entry: Entry) -> Bundle:
        """Return the entry's model in its precision, made once. Raises WrnError if it cannot be made."""
        key = (entry.model, entry.precision)
        if key not in self.models:
            stored = next(bundle for bundle in self.bundles if bundle.card.name == entry.model)
            self.models[key] = self._in_precision(stored, entry.precision)
        return self.models[key]

    def note(self, entry: Entry) -> str:
        """Return the note on the entry's model for the report."""
        if (cascade := self.model(entry).card.cascade) and cascade.labelled:
            top1, alone = 100 * cascade.point.top1, 100 * cascade.point.top1_accurate
            return f"cascade, top-1 {top1:.2f} %, its last member alone {alone:.2f} % on {cascade.data}"
        if self.model(entry) in self.bundles:
            return ""
        source = f"{min(CALIBRATION, len(self.items))} images" if self.items else "noise"
        return f"quantised in memory with {source}; its accuracy is unknown"

    def on_disk(self, entry: Entry) -> Path:
        """Return the entry's model as a bundle folder, for another process."""
        folder = self.folder / f"{entry.model.replace('/', '_')}-{entry.precision}"
        if not folder.exists():
            write_bundle(folder, self.model(entry))
        return folder

    def _in_precision(self, bundle: Bundle, precision: BenchPrecision) -> Bundle:
        stored = bundle.card.precision
        if (stored == "int8") == (precision == "int8"):
            return bundle
        if stored == "int8":
            raise BundleError(f"{bundle.card.name} is stored in int8 and cannot run in {precision}")
        spec = bundle.card.preprocess
        sample = balanced_sample(self.items, CALIBRATION)
        crops = [load_crop(item, spec) for item in sample] or list(noise(spec.crop))
        quantised = in_precision(as_float32(bundle), "int8", crops, [item.path for item in sample])
        return replace(quantised, card=replace(quantised.card, name=bundle.card.name))
