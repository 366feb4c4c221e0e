"""A compilation as a page: what the gate found, how it was quantised, and which layers bear it badly"""

from __future__ import annotations

from collections.abc import Sequence

from wideresnet.records import CompileReport, Deviation, GateReport, LayerLoss, Trial
from wideresnet.report.evaluation import failures
from wideresnet.report.html.page import bars, facts, number, page, paragraph, section, table
from wideresnet.report.text import of_quantising, of_width

SINGLE_PROCESS = (
    "What it costs to quantise one layer alone, all others in float32: the mean Kullback-Leibler divergence of the"
    " answers from fp32's, in millionths of a nat, and the root mean square by which the logits move over their"
    " spread. MACs: the layer's share of all multiply-accumulates."
)


def html(report: CompileReport) -> str:
    """One page without a request: gate, sizes, deviations, calibration, layers, trials."""
    return page(
        f"{report.bundle}: {report.precision}",
        [
            _gate(report.gate),
            section("What was made", facts(_made(report))),
            section("Notes", *map(paragraph, report.notes)),
            section("Images that could not be read", *failures(report.failures)),
            section("Verified against fp32", _deviations(report.verified)),
            section("Sensitivity of layers", *_layers(report)),
            section("Search", *_trials(report)),
        ],
    )


def _gate(gate: GateReport | None) -> str:
    if gate is None:
        return section("Gate", paragraph("Not compared with fp32: no gate was asked for, or there were no images."))
    if gate.limit is None:
        rows = [("verdict", "no gate was asked for")]
    else:
        kind = "points of top-1 may be lost" if gate.drop is not None else "% of answers must be fp32's"
        rows = [("verdict", "passed" if gate.passed else "FAILED"), ("limit", f"{100 * gate.limit:g} {kind}")]
    if gate.drop is not None and gate.interval95 is not None:
        low, high = gate.interval95
        rows += [
            ("top-1", f"{_percent(gate.top1_reference)} → {_percent(gate.top1)}"),
            ("top-5", f"{_percent(gate.top5_reference)} → {_percent(gate.top5)}"),
            ("drop", f"{100 * gate.drop:.3f} points, 95 % interval {100 * low:.3f} to {100 * high:.3f}"),
            ("McNemar's exact p", f"{gate.p_value:.2g}"),
        ]
    rows += [
        ("same answer as fp32", _percent(gate.agreement)),
        ("mean KL", f"{number(gate.mean_kl)} nats"),
        ("images", f"{gate.n:,} ({gate.data})" + (f", {gate.failures} unreadable" if gate.failures else "")),
        ("engine", f"{gate.engine.runtime} {gate.engine.version}, {gate.engine.precision}"),
    ]
    warning = "" if gate.kind == "accuracy" else paragraph(
        "This is agreement with fp32, not accuracy: without labels nobody knows which of the two is right."
    )
    return section("Gate", facts(rows), warning, *map(paragraph, of_width(gate)))


def _made(report: CompileReport) -> list[tuple[str, str]]:
    share = report.size_bytes / report.size_bytes_reference
    rows = [("size", f"{report.size_bytes / 1e6:.1f} MB, {100 * share:.0f} % of fp32's")]
    if report.quantised:
        rows.append(("quantised", of_quantising(report.quantised)))
        rows.append(("calibration", f"{report.calibration} images; their list is on the bundle's card"))
    return rows


def _deviations(verified: Sequence[Deviation]) -> str:
    """Engines down, batches across."""
    sizes = list(dict.fromkeys(each.batch for each in verified))
    found = {(each.engine, each.batch): each.relative for each in verified}
    rows = [
        (engine, *(number(found[engine, size]) for size in sizes))
        for engine in dict.fromkeys(each.engine for each in verified)
    ]
    heads = ("logits, off by", *(f"batch {size}" for size in sizes))
    return table(heads, rows, right=set(range(1, len(heads))))


def _layers(report: CompileReport) -> list[str]:
    if not report.layers:
        return []
    kept = set(report.quantised.kept if report.quantised else ())
    worst = sorted(report.layers, key=lambda layer: -layer.mean_kl)
    rows = [
        (
            layer.name, _shape(layer), f"{100 * layer.macs:.2f} %", number(1e6 * layer.mean_kl),
            f"{100 * layer.relative:.3f} %", "fp32" if layer.name in kept else "int8",
        )
        for layer in worst
    ]  # fmt: skip
    heads = ("layer", "weight or operator", "MACs", "KL, µnat", "logits move", "kept in")
    return [
        paragraph(f"{SINGLE_PROCESS} Measured on {worst[0].n} calibration images."),
        bars("Mean KL of each layer alone", [(each.name, 1e6 * each.mean_kl) for each in worst[:20]], "µnat"),
        table(heads, rows, right={2, 3, 4}),
    ]


def _shape(layer: LayerLoss) -> str:
    """3×3, 16 → 64"""
    if not layer.shape:
        return layer.operator
    c_out, c_in, *kernel = layer.shape
    return (f"{kernel[0]}×{kernel[1]}, " if kernel else "") + f"{c_in} → {c_out}"


def _trials(report: CompileReport) -> list[str]:
    if not report.trials:
        return []
    end = "" if report.finished else " The budget ended it; the same command goes on from here."
    words = (
        "All judged by the same images, so that the best of many looks a little better than it is. Speed was"
        " measured beside fp32's on the spot."
    )
    labelled = any(trial.gate and trial.gate.kind == "accuracy" for trial in report.trials)
    heads = ("", "gate", *["drop, points"] * labelled, "agreement", "KL, nats", "× fp32's speed", "settings")
    rows = [_trial(place, trial, labelled) for place, trial in enumerate(report.trials, 1)]
    return [paragraph(words + end), table(heads, rows, right={0, *range(2, len(heads) - 1)})]


def _trial(place: int, trial: Trial, labelled: bool) -> tuple[str, ...]:
    gate, settings = trial.gate, of_quantising(trial.settings)
    if gate is None:
        return (str(place), "not the same model", *["–"] * (3 + labelled), settings)
    drop = [] if gate.drop is None else [f"{100 * gate.drop:.3f}"]
    speed = "–" if trial.speedup is None else number(trial.speedup)
    verdict = "passed" if gate.passed else "failed"
    return (str(place), verdict, *drop, _percent(gate.agreement), number(gate.mean_kl), speed, settings)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.3f} %"
