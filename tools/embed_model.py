"""Put a trained network into the package: ``python tools/embed_model.py RUN DATA``.

Exports RUN/model.safetensors with float16 weights, evaluates this bundle on the test set in DATA, and records the
accuracy on its card. Then calibrates it: temperature and thresholds come from half of the test images, and the figures
of the calibration from the other half.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from wideresnet.bundle import Bundle, read_bundle, write_bundle
from wideresnet.datasets.open import open_labelled
from wideresnet.records import EvalReport, Measured
from wideresnet.report import calibration, evaluation
from wideresnet.tasks.calibrate.calibrate import calibrate
from wideresnet.tasks.evaluate.model import evaluate
from wideresnet.tasks.load.load import ModelChoice, load_bundle, open_classifier
from wideresnet.tasks.load.resolve import embedded_folder
from wideresnet.tasks.quantize.compile import in_precision


def main() -> None:
    """Write the bundle, evaluate it, and write it again with the accuracy on its card."""
    parser = argparse.ArgumentParser(description="Put a trained network into the package.")
    parser.add_argument("run", type=Path, help="run folder of 'wrn train'")
    parser.add_argument("data", type=Path, help="cifar-10-binary.tar.gz or cifar-100-binary.tar.gz")
    arguments = parser.parse_args()
    trained = load_bundle(ModelChoice(str(arguments.run / "model.safetensors")))
    folder = embedded_folder(trained.card.name)
    with TemporaryDirectory() as temporary:
        stored = Path(temporary) / "stored"
        write_bundle(stored, in_precision(trained, "fp16"))
        bundle = read_bundle(stored)
        report = evaluate(open_classifier(bundle), open_labelled(arguments.data, bundle.labels))
        write_bundle(stored, with_measurement(bundle, report))
        print(evaluation.to_text(report))
        print(calibration.to_text(calibrate(stored, arguments.data, folder, progress=True)))
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.2f} MB")


def with_measurement(bundle: Bundle, report: EvalReport) -> Bundle:
    """Return the bundle with the measured accuracy on its card."""
    engine = report.engine
    assert engine is not None                      # evaluated here, not read from a file of results
    measured = Measured(
        data=report.data,
        n=report.n,
        correct1=report.correct1,
        correct5=report.correct5,
        engine=f"{engine.runtime} {engine.version}",
        precision=engine.precision,
    )
    return replace(bundle, card=replace(bundle.card, measured=(measured,)))


if __name__ == "__main__":
    main()
