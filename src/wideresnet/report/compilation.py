"""A compilation as text, JSON and a page: the gate, the quantisation, and the sensitivity of the layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.precision import precision_name
from wideresnet.records import CompileReport, Deviation, GateReport, LayerLoss, QuantiseSettings, Trial
from wideresnet.report.escape import json_text
from wideresnet.report.formats import engine_text, interval_text, percent, pick, pick_percent
from wideresnet.report.html import page as html
from wideresnet.report.html.charts import interval
from wideresnet.report.html.evaluation import failure_table
from wideresnet.report.html.page import number

SENSITIVITY = (
    "The cost of quantising one layer alone, all others in float32: the mean Kullback-Leibler divergence of the"
    " answers from f32's, in millionths of a nat, and the root mean square by which the logits move over their"
    " spread. MACs: the layer's fraction of all multiply-accumulates."
)
VERDICTS = {"passed": "passed", "failed": "FAILED", "undecided": "UNDECIDED", "none": "no gate"}
AGREEMENT = "this is agreement with f32, not accuracy: without labels nobody knows which of the two is right"


def to_text(report: CompileReport) -> str:
    """Return what was written, its deviation from the original, and the gate's verdict."""
    fraction = report.size_bytes / report.size_bytes_reference
    lines = [
        f"{report.bundle}: {precision_name(report.precision)}, {report.size_bytes / 1e6:.1f} MB, {fraction:.0%} of f32"
        + (f", {report.calibration} calibration images" if report.calibration else "")
    ]
    for engine in dict.fromkeys(deviation.engine for deviation in report.verified):
        deviations = [deviation for deviation in report.verified if deviation.engine == engine]
        worst = max(deviation.relative for deviation in deviations)
        *most, last = map(str, sorted({deviation.batch for deviation in deviations}))
        batches = " and ".join(filter(None, (", ".join(most), last)))
        lines.append(f"  verified in {engine}: logits within {worst:.2g} of their spread at batch {batches}")
    if report.quantised:
        lines.append(f"  {_settings(report.quantised)}")
    return "\n".join([*lines, *(f"  {line}" for line in (*_gate_lines(report.gate), *_search_lines(report)))])


def _gate_lines(gate: GateReport | None) -> list[str]:
    if gate is None:
        return ["not compared with f32: no gate was asked for, or there were no images for it"]
    verdict = f"gate {100 * gate.limit:g}: {VERDICTS[gate.verdict]}" if gate.limit is not None else "no gate"
    engine = gate.engine
    divergence = f"mean KL {gate.mean_kl:.2g} nats, {engine.runtime} {engine.version} in {engine.precision}"
    if gate.drop is None or gate.interval95 is None:
        return [
            f"same answer as f32 for {100 * gate.agreement:.2f} % of {gate.n} images ({gate.data}); {verdict}",
            AGREEMENT,
            divergence,
            *_undecided(gate),
        ]
    return [
        f"top-1 {_points(gate.top1_reference)} -> {_points(gate.top1)} %,"
        f" top-5 {_points(gate.top5_reference)} -> {_points(gate.top5)} % on {gate.data}, n = {gate.n}",
        f"drop {100 * gate.drop:.3f} points (95 % interval {interval_text(gate.interval95, 3)},"
        f" McNemar p = {gate.p_value:.2g}); {verdict}",
        f"same answer for {100 * gate.agreement:.2f} %, {divergence}",
        *_undecided(gate),
    ]


def verdict_text(gate: GateReport) -> str:
    """Return the verdict and its limit in a sentence."""
    if gate.limit is None:
        return "no limit was requested"
    limit = f"{100 * gate.limit:g} % agreement" if gate.drop is None else f"{100 * gate.limit:g} points of top-1"
    return f"{gate.verdict}: " + next(iter(_undecided(gate)), f"limit {limit}, {gate.n:,} images")


def advice(gate: GateReport | None) -> list[str]:
    """Return what to do about an undecided gate: more images, another limit, or none."""
    if gate is None or gate.limit is None or gate.verdict != "undecided":
        return []
    images = f"{gate.images_needed:,} images" if gate.images_needed else "other images"
    points = math.ceil(1000 * gate.loss_bound) / 10
    limit = f"--gate {points:.1f}" if gate.drop is not None else f"--min-agreement {100 - points:.1f}"
    return [f"the gate is undecided (exit code 1): give {images} with --data, a limit of {limit}, or --gate none"]


def _undecided(gate: GateReport) -> list[str]:
    """Return what an undecided gate has shown, and the images that could decide it."""
    if gate.limit is None or gate.verdict != "undecided":
        return []
    needed = "no number of images could" if gate.images_needed is None else f"about {gate.images_needed:,} could"
    if gate.drop is None:
        claim, reach = f"no agreement below {100 * gate.limit:g} %", f"begins at {100 - 100 * gate.loss_bound:.2f} %"
    else:
        claim, reach = f"no loss above {100 * gate.limit:g} points", f"ends at {100 * gate.loss_bound:.3f} points"
    return [f"{claim} was seen, but {gate.n:,} images cannot exclude it (95 % interval {reach}); {needed}"]


def _search_lines(report: CompileReport) -> Iterable[str]:
    if report.trials:
        verdicts = [trial.gate.verdict for trial in report.trials if trial.gate]
        passed, undecided = verdicts.count("passed"), verdicts.count("undecided")
        counts = f"{passed} passed" + (f", {undecided} undecided" if undecided else "")
        yield f"{len(report.trials)} ways of quantising tried on the same images, {counts}; this is the best"
        if not report.finished:
            yield "the budget is used up: the same command goes on from here"
        elif not passed + undecided:
            yield "nothing is left to try"


def _settings(settings: QuantiseSettings) -> str:
    """Return one way of quantising, in a line."""
    count, noun = len(settings.kept), "layer" if len(settings.kept) == 1 else "layers"
    names = ", ".join(settings.kept[:4]) + (", …" if count > 4 else "")
    items = [
        f"ranges by {settings.estimator}",
        f"{settings.samples} images",
        "fast bias correction" if settings.bias_correction == "fast" else "",
        "mixed preset" if settings.preset == "mixed" else "",
        f"{count} {noun} in f32: {names}" if count else "",
    ]
    return ", ".join(filter(None, items))


def to_json(report: CompileReport) -> dict[str, Any]:
    """Return JSON values; ``gate`` is null without a comparison, ``layers`` and ``trials`` may be empty."""
    return {
        **pick(report, "bundle", "precision", "size_bytes"),
        "size_bytes_fp32": report.size_bytes_reference,
        **pick(report, "verified", "calibration"),
        "gate": _gate_json(report.gate) if report.gate else None,
        **pick(report, "quantised", "layers"),
        "trials": [_trial_json(trial) for trial in report.trials],
        **pick(report, "finished", "failures", "notes", "assumed", "skipped"),
    }


def _gate_json(gate: GateReport) -> dict[str, Any]:
    """Return JSON values: accuracies in percent, ``drop``, its interval and ``limit`` in percentage points.

    Without labels ``kind`` is "agreement": accuracies, drop and their tests are null, ``limit`` is the agreement
    demanded.
    """
    return {
        **pick(gate, "kind", "data", "n", "failures"),
        **pick_percent(gate, "top1_reference", "top1", "top5_reference", "top5", "drop", "interval95"),
        **pick(gate, "p_value"),
        **pick_percent(gate, "agreement"),
        **pick(gate, "mean_kl"),
        **pick_percent(gate, "limit"),
        "passed": gate.verdict in ("passed", "none"),
        **pick(gate, "verdict", "images_needed"),
        "engine": gate.engine.runtime,
        "precision": gate.engine.precision,
        **pick(gate, "warnings"),
    }


def _trial_json(trial: Trial) -> dict[str, Any]:
    """Return JSON values; ``gate`` is null if the graph failed its verification."""
    return {
        **asdict(trial.settings),
        "gate": _gate_json(trial.gate) if trial.gate else None,
        "speedup": trial.speedup,
        "seconds": round(trial.seconds, 3),
    }


def to_html(report: CompileReport, conditions: Mapping[str, object]) -> str:
    """Return one self-contained page: gate, size, speed, deviations, calibration, layers, trials, conditions."""
    files = html.downloads({"compilation.json": json_text(to_json(report))})
    return html.page(
        f"{report.bundle}: {precision_name(report.precision)}",
        [
            _gate(report.gate),
            html.section("What was made", html.facts(_size_and_settings(report)), *_size_and_speed(report)),
            html.section("Notes", *map(html.paragraph, report.notes)),
            html.section("Images that could not be read", *failure_table(report.failures)),
            html.section("Verified against f32", _deviations(report.verified)),
            html.section("Sensitivity of layers", *_layers(report)),
            html.section("Search", *_trials(report)),
            html.section("Conditions", html.facts(html.fact_rows(conditions)), files),
        ],
    )


def _gate(gate: GateReport | None) -> str:
    if gate is None:
        note = "Not compared with f32: no gate was asked for, or there were no images."
        return html.section("Gate", html.paragraph(note))
    if gate.limit is None:
        rows = [("verdict", "no gate was asked for")]
    else:
        kind = "points of top-1 may be lost" if gate.drop is not None else "% of answers must be f32's"
        rows = [("verdict", VERDICTS[gate.verdict]), ("limit", f"{100 * gate.limit:g} {kind}")]
    if gate.drop is not None and gate.interval95 is not None:
        rows += [
            ("top-1", f"{percent(gate.top1_reference)} → {percent(gate.top1)}"),
            ("top-5", f"{percent(gate.top5_reference)} → {percent(gate.top5)}"),
            ("drop", f"{100 * gate.drop:.3f} points, 95 % interval {interval_text(gate.interval95, 3)}"),
            ("McNemar's exact p", f"{gate.p_value:.2g}"),
        ]
    rows += [
        ("same answer as f32", percent(gate.agreement)),
        ("mean KL", f"{number(gate.mean_kl)} nats"),
        ("images", f"{gate.n:,} ({gate.data})" + (f", {gate.failures} unreadable" if gate.failures else "")),
        ("engine", engine_text(gate.engine)),
    ]
    warning = "" if gate.kind == "accuracy" else html.paragraph(f"{AGREEMENT[:1].upper()}{AGREEMENT[1:]}.")
    return html.section("Gate", html.facts(rows), _loss_chart(gate), warning, *map(html.paragraph, _undecided(gate)))


def _loss_chart(gate: GateReport) -> str:
    """Return the interval of the loss beside the limit."""
    low, high = (100 * end for end in gate.loss_interval)
    limit = None if gate.limit is None else round(100 * gate.accepted, 6)
    axis = "answers that differ from f32's, %" if gate.drop is None else "points of top-1 lost"
    return interval("The loss with its 95 % interval", (low, high), 100 * gate.loss, limit, axis)


def _size_and_speed(report: CompileReport) -> list[str]:
    """Return bars of both models; the speed is known if a search measured it."""
    name = precision_name(report.precision)
    sizes = [("f32", report.size_bytes_reference / 1e6), (name, report.size_bytes / 1e6)]
    speed = next((trial.speedup for trial in report.trials if trial.settings == report.quantised), None)
    note = "The speed was not measured: 'wrn compile --search' and 'wrn bench' do that."
    speeds = [("f32", 1.0), (name, speed or 0.0)]
    shown = html.bars("Speed, side by side in one run", speeds, "× f32's") if speed else html.paragraph(note)
    return [html.bars("Size", sizes, "MB"), shown]


def _size_and_settings(report: CompileReport) -> list[tuple[str, str]]:
    fraction = report.size_bytes / report.size_bytes_reference
    rows = [("size", f"{report.size_bytes / 1e6:.1f} MB, {100 * fraction:.0f} % of f32's")]
    if report.quantised:
        rows.append(("quantised", _settings(report.quantised)))
        rows.append(("calibration", f"{report.calibration} images; their list is on the bundle's card"))
    return rows


def _deviations(verified: Sequence[Deviation]) -> str:
    """Return a table of engines (rows) and batch sizes (columns)."""
    sizes = list(dict.fromkeys(deviation.batch for deviation in verified))
    relative = {(deviation.engine, deviation.batch): deviation.relative for deviation in verified}
    rows = [
        (engine, *(number(relative[engine, size]) for size in sizes))
        for engine in dict.fromkeys(deviation.engine for deviation in verified)
    ]
    heads = ("logits, off by", *(f"batch {size}" for size in sizes))
    return html.table(heads, rows, right=set(range(1, len(heads))))


def _layers(report: CompileReport) -> list[str]:
    if not report.layers:
        return []
    float_layers = set(report.quantised.kept if report.quantised else ())
    worst = sorted(report.layers, key=lambda layer: -layer.mean_kl)
    rows = [
        (
            layer.name, _shape(layer), f"{100 * layer.macs:.2f} %", number(1e6 * layer.mean_kl),
            f"{100 * layer.relative:.3f} %", "f32" if layer.name in float_layers else "int8",
        )
        for layer in worst
    ]  # fmt: skip
    heads = ("layer", "weight or operator", "MACs", "KL, µnat", "logits move", "kept in")
    return [
        html.paragraph(f"{SENSITIVITY} Measured on {worst[0].n} calibration images."),
        html.bars("Mean KL of each layer alone", [(layer.name, 1e6 * layer.mean_kl) for layer in worst[:20]], "µnat"),
        html.table(heads, rows, right={2, 3, 4}),
    ]


def _shape(layer: LayerLoss) -> str:
    """Return ``3×3, 16 → 64``, or the operator of a layer without a weight."""
    if not layer.shape:
        return layer.operator
    c_out, c_in, *kernel = layer.shape
    return (f"{kernel[0]}×{kernel[1]}, " if kernel else "") + f"{c_in} → {c_out}"


def _trials(report: CompileReport) -> list[str]:
    if not report.trials:
        return []
    end = "" if report.finished else " The budget ended it; the same command goes on from here."
    note = (
        "All were validated on the same images, so that the best of many looks a little better than it is. Speed was"
        " measured beside f32's on the spot."
    )
    labelled = any(trial.gate and trial.gate.kind == "accuracy" for trial in report.trials)
    heads = ("", "gate", *["drop, points"] * labelled, "agreement", "KL, nats", "× f32's speed", "settings")
    rows = [_trial(index, trial, labelled) for index, trial in enumerate(report.trials, 1)]
    return [html.paragraph(note + end), html.table(heads, rows, right={0, *range(2, len(heads) - 1)})]


def _trial(index: int, trial: Trial, labelled: bool) -> tuple[str, ...]:
    gate, settings = trial.gate, _settings(trial.settings)
    if gate is None:
        return (str(index), "not the same model", *["–"] * (3 + labelled), settings)
    drop = [] if gate.drop is None else [f"{100 * gate.drop:.3f}"]
    speed = "–" if trial.speedup is None else number(trial.speedup)
    return (str(index), gate.verdict, *drop, percent(gate.agreement), number(gate.mean_kl), speed, settings)


def _points(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.3f}"
