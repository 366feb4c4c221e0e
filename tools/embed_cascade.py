"""Put a cascade of the package's networks into the package: ``python tools/embed_cascade.py NAME DATA MEMBER…``.

Certifies the cascade of the embedded MEMBERs, fastest first, on the test images in DATA; writes its card and labels.
Its members are not copied: they lie beside it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.bundle.files import CARD, LABELS
from wideresnet.output.atomic import save_text
from wideresnet.output.progress import run_shown
from wideresnet.records.inference import InferenceSettings
from wideresnet.report import cascade as report
from wideresnet.tasks.cascade.cascade import make_cascade
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.load.resolve import embedded_folder
from wideresnet.tasks.quantize.calibration_data import gate_images


def main() -> None:
    """Write the cascade to a temporary folder, and its card and labels into the package."""
    parser = argparse.ArgumentParser(description="Put a cascade of embedded networks into the package.")
    parser.add_argument("name", help="such as cifar10.cascade")
    parser.add_argument("data", type=Path, help="cifar-10-binary.tar.gz")
    parser.add_argument("members", nargs="+", help="names of embedded networks, fastest first")
    parser.add_argument("--max-drop", type=float, default=0.3, help="percentage points of top-1")
    arguments = parser.parse_args()
    members = [load_bundle(ModelChoice(name)) for name in arguments.members]
    images = gate_images(arguments.data, members[-1].labels)
    with TemporaryDirectory() as temporary:
        written = Path(temporary) / "cascade"
        run = make_cascade(members, images, arguments.max_drop / 100, InferenceSettings(), written)
        done = run_shown(run, "certifying", False)
        print(report.to_text(done))
        if not done.bundle:
            raise SystemExit("no rule was certified")
        bundle = read_bundle(written)
        write_bundle(written, replace(bundle, card=replace(bundle.card, name=arguments.name)))
        for file in (CARD, LABELS):
            save_text(embedded_folder(arguments.name) / file, (written / file).read_text("utf-8"))


if __name__ == "__main__":
    main()
