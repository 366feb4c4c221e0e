"""Draw the pictures of docs/trust.md: ``python benchmarks/draw_trust.py CIFAR-10 CIFAR-100 [--images docs/images]``.

The bundled model is calibrated on half of CIFAR-10's test images, and measured on the other half, before and after.
The images of CIFAR-100 show classes that it has never seen. Both are archives, as their authors publish them.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import wideresnet
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.sample import balanced_sample
from wideresnet.records import P_BINS, EvalReport
from wideresnet.report.html.charts import columns
from wideresnet.report.html.page import HEIGHT, lines
from wideresnet.serve.metrics import distance_from_uniform

MODEL = "wrn_16_4.cifar10"
UNSEEN = 2000                                      # images of CIFAR-100
COLOURS = ("#1f6fd0", "#c4540c", "#0a7f5a")
STYLE = (
    "svg{background:#fff}text{font:14px system-ui,sans-serif;fill:#1b1f24}.axis,.grid{fill:none;stroke:#59636e}"
    ".grid{stroke:#d1d9e0}.line{fill:none;stroke-width:2.5;stroke:var(--c)}.dot{fill:var(--c)}"
    + "".join(f".s{index}{{--c:{colour}}}" for index, colour in enumerate(COLOURS))
    + ".s1{stroke-dasharray:9 4}.s2{stroke-dasharray:3 3}"
)


def main() -> None:
    """Calibrate, measure, draw."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/trust.md.")
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("cifar100", type=Path)
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        bundle, uncalibrated = Path(folder, "calibrated"), Path(folder, "uncalibrated.safetensors")
        wideresnet.export(uncalibrated, MODEL, library="safetensors")
        data = open_labelled(options.cifar10, read_labels("cifar10"))
        half, rest = data.take_part("1/2"), data.take_part("2/2")
        report = wideresnet.calibrate(MODEL, half, bundle)
        print("temperature", report.uncertainty.temperature)
        before, after = wideresnet.evaluate(uncalibrated, rest), wideresnet.evaluate(bundle, rest, coverage=0.95)
        unseen = open_labelled(options.cifar100, read_labels("cifar100"))
        images = [item.source for item in balanced_sample(unseen.items, UNSEEN)]
        p_values = np.array([answer.p_known for answer in wideresnet.load(bundle).iter_classify(images, batch_size=64)])
    print(f"before: {before.calibration_error:.4f}, after: {after.calibration_error:.4f}, {after.uncertainty}")
    print("of CIFAR-100 unknown, and with p-values below 5 %:", *((p_values < p).mean() for p in (0.01, 0.05)))
    print("distance from uniform p-values:", distance_from_uniform(p_values.tolist()))
    for name, curve in (("before", _curve(before)), ("after", _curve(after))):
        print(name, *(f"{sure:.1f} % sure: {right:.1f} % right;" for sure, right in curve))
    curves = {
        f"before: ECE {100 * before.calibration_error:.1f} %": _curve(before),
        f"calibrated: ECE {100 * after.calibration_error:.1f} %": _curve(after),
        "perfect calibration": [(0.0, 0.0), (100.0, 100.0)],
    }
    _save(options.images / "reliability.svg", lines("Reliability", curves, "probability of the answer, %", "right, %"))
    assert after.uncertainty
    counts = np.bincount(np.minimum(p_values * P_BINS, P_BINS - 1).astype(int), minlength=P_BINS)
    for name, values, colour in (("known", after.uncertainty.p_values, 0), ("unseen", counts.tolist(), 1)):
        fractions = [100 * value / sum(values) for value in values]
        chart = columns("P-values", fractions, (0, 1), ("p-value", "images, %"), colour)
        _save(options.images / f"p-values-{name}.svg", chart)


def _curve(report: EvalReport) -> list[tuple[float, float]]:
    """Return the accuracy of the answers by their probability, in percent; bins of a few images are left out."""
    return [(100 * counts.confidence, 100 * counts.accuracy) for counts in report.bins if counts.n >= 20]


def _save(file: Path, figure: str) -> None:
    """Write the chart of an HTML figure, with its legend, as a file of its own."""
    match = re.search(r'<svg viewBox="0 0 (\d+) (\d+)"(.*?)</svg>', figure, re.DOTALL)
    assert match
    width, height, inner = match.groups()
    names = re.findall(r"</svg>([^<]+)</li>", figure)
    legend = "".join(
        f'<path class="line s{index}" d="M380 {y}h36"/><text x="426" y="{y + 5}">{name}</text>'
        for index, (y, name) in enumerate(zip(range(176, HEIGHT, 22), names, strict=False))
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    file.write_text(f"{head}{inner.replace('>', f'><style>{STYLE}</style>', 1)}{legend}</svg>\n", "utf-8")


if __name__ == "__main__":
    main()
