"""Records as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from wideresnet.records import (
    Choice,
    CompileReport,
    EvalReport,
    Failure,
    GateReport,
    ModelInfo,
    Peak,
    Prediction,
    Preprocess,
    QuantiseSettings,
    wilson_interval,
)
from wideresnet.report.escape import printable

RULES = (
    "MACs: multiply-accumulates of convolutions and classifier. FLOPs: 2 x MACs.\n"
    "thop: what the tool thop counts, MACs + 4 x the elements that pass a batch norm."
)


def of_prediction(prediction: Prediction) -> str:
    """One line an image: its name and its classes, likeliest first."""
    classes = (f"{printable(p.label)} {100 * p.probability:.1f} %" for p in prediction.predictions)
    # Answers are printed as they come, so that the widest name is not known yet.
    return f"{printable(prediction.path):<24}  {' · '.join(classes)}"


def of_failure(failure: Failure) -> str:
    """One image that could not be read, in one line or two."""
    path, error, hint = map(printable, (failure.path, failure.error, failure.hint))
    return f"{path}: {error}" + (f"\n  hint: {hint}" if hint else "")


def of_evaluation(report: EvalReport) -> str:
    """A report in a few lines, with the conditions it holds under."""
    n, conditions = report.n, report.conditions
    lines = [
        f"{report.model} on {report.data}",
        _accuracy("top-1", report.correct1, n, report.interval95),
        _accuracy("top-5", report.correct5, n, report.interval95_top5)
        if report.known >= 5
        else f"  top-5  not known: the file has {report.known} answers an image",
    ]
    if report.masked:
        among = f"among the {report.masked.classes} classes of the data only"
        lines += [
            f"  {among}:",
            _accuracy("top-1", report.masked.correct1, n, wilson_interval(report.masked.correct1, n)),
            _accuracy("top-5", report.masked.correct5, n, wilson_interval(report.masked.correct5, n)),
        ]
    if any(each.n for each in report.bins):
        lines.append(f"  calibration error {100 * report.calibration_error:.2f} % over {len(report.bins)} bins")
    if conditions and conditions.shards:
        lines.append(f"  shards {', '.join(conditions.shards)} of {conditions.pictures} images")
    return "\n".join([*lines, _how(report)])


def _accuracy(name: str, correct: int, n: int, interval: tuple[float, float]) -> str:
    share = f"{100 * correct / n:.3f} %" if n else "nan %"
    low, high = (100 * end for end in interval)
    return f"  {name}  {share}   ({correct} of {n}; 95 % interval {low:.2f} to {high:.2f})"


def _how(report: EvalReport) -> str:
    engine, failures = report.engine, f"{len(report.failures)} failures"
    if engine is None:
        return f"  answers read from a file; {failures}"
    ran = f"{engine.runtime} {engine.version}, {engine.precision}, {engine.threads} threads"
    return f"  {report.seconds:.1f} s with {ran}; {failures}"


def of_compilation(report: CompileReport) -> str:
    """What was made, how far it is from the original, and what the gate says."""
    share = report.size_bytes / report.size_bytes_reference
    lines = [
        f"{report.bundle}: {report.precision}, {report.size_bytes / 1e6:.1f} MB, {share:.0%} of fp32"
        + (f", {report.calibration} calibration images" if report.calibration else "")
    ]
    for engine in dict.fromkeys(each.engine for each in report.verified):
        worst = max(each.relative for each in report.verified if each.engine == engine)
        sizes = sorted({each.batch for each in report.verified if each.engine == engine})
        batches = " and ".join(filter(None, (", ".join(map(str, sizes[:-1])), str(sizes[-1]))))
        lines.append(f"  verified in {engine}: logits within {worst:.2g} of their spread at batch {batches}")
    if report.quantised:
        lines.append(f"  {of_quantising(report.quantised)}")
    return "\n".join([*lines, *of_gate(report.gate), *_of_search(report)])


def of_quantising(settings: QuantiseSettings) -> str:
    """One way of quantising, in a line."""
    kept = ", ".join(settings.kept[:4]) + (", …" if len(settings.kept) > 4 else "")
    parts = [
        f"ranges by {settings.estimator}",
        f"{settings.samples} images",
        "fast bias correction" if settings.bias_correction == "fast" else "",
        "mixed preset" if settings.preset == "mixed" else "",
        f"{len(settings.kept)} {'layer' if len(settings.kept) == 1 else 'layers'} in fp32: {kept}" if kept else "",
    ]
    return ", ".join(filter(None, parts))


def of_gate(gate: GateReport | None) -> list[str]:
    """What the comparison with fp32 showed, and what the gate says."""
    if gate is None:
        return ["  not compared with fp32: no gate was asked for, or there were no images for it"]
    verdict = "no gate" if gate.limit is None else f"gate {100 * gate.limit:g}: {'passed' if gate.passed else 'FAILED'}"
    more = f"mean KL {gate.mean_kl:.2g} nats, {gate.engine.runtime} {gate.engine.version} in {gate.engine.precision}"
    if gate.drop is None or gate.interval95 is None:
        return [
            f"  same answer as fp32 for {100 * gate.agreement:.2f} % of {gate.n} images ({gate.data}); {verdict}",
            "  this is agreement with fp32, not accuracy: without labels nobody knows which of the two is right",
            f"  {more}",
            *(f"  {line}" for line in of_width(gate)),
        ]
    low, high = (100 * share for share in gate.interval95)
    return [
        f"  top-1 {_percent(gate.top1_reference)} -> {_percent(gate.top1)} %,"
        f" top-5 {_percent(gate.top5_reference)} -> {_percent(gate.top5)} % on {gate.data}, n = {gate.n}",
        f"  drop {100 * gate.drop:.3f} points (95 % interval {low:.3f} to {high:.3f}, McNemar p = {gate.p_value:.2g});"
        f" {verdict}",
        f"  same answer for {100 * gate.agreement:.2f} %, {more}",
        *(f"  {line}" for line in of_width(gate)),
    ]


def of_width(gate: GateReport) -> list[str]:
    """One sentence where a gate was passed that so few images could not have failed for sure."""
    if gate.limit is None or not gate.passed:
        return []
    low, high = gate.interval95 or wilson_interval(round(gate.agreement * gate.n), gate.n)
    if gate.drop is None and low < gate.limit:
        return [f"{gate.n} images cannot tell for sure: the agreement's 95 % interval begins at {100 * low:.2f} %"]
    if gate.drop is not None and high > gate.limit:
        return [f"{gate.n} images cannot tell for sure: the drop's 95 % interval ends at {100 * high:.3f} points"]
    return []


def _of_search(report: CompileReport) -> list[str]:
    """How many ways were tried, and what is left to do."""
    if not report.trials:
        return []
    passed = sum(trial.gate is not None and trial.gate.passed for trial in report.trials)
    lines = [f"  {len(report.trials)} ways of quantising tried on the same images, {passed} passed; this is the best"]
    if not report.finished:
        lines.append("  the budget is used up: the same command goes on from here")
    elif not passed:
        lines.append("  nothing is left to try")
    return lines


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.3f}"


def of_models(infos: Iterable[ModelInfo]) -> str:
    """The table of all models."""
    heads = ("name", "parameters", "MACs", "input", "top-1", "top-5", "by", "licence", "where")
    return columns([heads, *map(_row, infos)], right={1, 2, 3, 4, 5})


def of_model(info: ModelInfo) -> str:
    """Everything about one model, a line each."""
    lines = [
        ("name", info.name),
        ("architecture", info.architecture),
        ("parameters", f"{info.parameters:,}"),
        ("MACs", f"{info.macs / 1e9:.3f} G at {info.preprocess.crop} px"),
        ("thop", f"{info.thop_macs / 1e9:.3f} G"),
        ("FLOPs", f"{info.flops / 1e9:.3f} G"),
        ("input", f"RGB uint8 [N, {info.preprocess.crop}, {info.preprocess.crop}, 3]"),
        ("preprocess", _transform(info.preprocess)),
        ("labels", f"{info.labels or 'none'}, {info.classes} classes"),
        ("licence", info.licence or "that of whoever trains it"),
        ("where", info.where),
    ]
    for published in info.published:
        accuracy = f"{100 * published.top1:.3f} / {100 * published.top5:.3f} %"
        lines.append(("published", f"{accuracy}  ({published.source})"))
    for measured in info.measured:
        share = f"{100 * measured.correct1 / measured.n:.2f} / {100 * measured.correct5 / measured.n:.2f} %"
        how = f"{measured.data}, n = {measured.n}, {measured.engine}, {measured.precision}"
        lines.append(("measured", f"{share}  ({how})"))
    lines += [(key, value) for key, value in info.notes.items() if "\n" not in value]
    lines += [("assumed", assumption) for assumption in info.assumed]
    return columns(lines, right=set()) + "\n\n" + RULES


def of_choices(choices: Sequence[Choice], peak: Peak) -> str:
    """The table of what could be run, most accurate first; the best that fits is named below it."""
    heads = ("", "weights", "pixels", "precision", "top-1", "images/s", "ms", "speed", "accuracy by")
    rows = [
        (
            ("*" if each.best else " ") + ("" if each.fits else " -"), each.name, str(each.pixels), each.precision,
            f"{100 * each.top1:.2f}", f"{each.images_per_s:.1f}", f"{each.latency_ms:.0f}",
            each.speed if each.speed == each.latency else f"{each.speed}, ms {each.latency}", each.source,
        )
        for each in choices
    ]  # fmt: skip
    limits = ", ".join(f"{name} {value:.0f}" for name, value in asdict(peak).items() if value)
    chosen = next((each for each in choices if each.fits and each.best), None)
    answer = f"take {chosen.name} in {chosen.precision}" if chosen else "nothing here meets what was asked"
    return "\n".join(
        [
            columns([heads, *rows], right={2, 4, 5, 6}),
            "",
            "* nothing else is as accurate and as fast;  - does not meet what was asked",
            "Accuracy is as published for float32; for int8 the 0.2 points that its gate allows are taken off.",
            f"Peak here, G operations a second: {limits}.",
            answer,
        ]
    )


def columns(rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """Rows of cells, padded to columns; those in ``right`` are set to the right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(info: ModelInfo) -> tuple[str, ...]:
    top1, top5, by = "", "", ""
    if info.measured:
        best = info.measured[0]
        top1, top5 = f"{100 * best.correct1 / best.n:.3f}", f"{100 * best.correct5 / best.n:.3f}"
        by = f"measured, {best.data}"
    elif info.published:
        first = info.published[0]
        # The paper printed fewer digits than the libraries; more here would be made up.
        digits = 2 if first.source.startswith("paper") else 3
        top1, top5, by = f"{100 * first.top1:.{digits}f}", f"{100 * first.top5:.{digits}f}", first.source.split()[0]
    return (
        info.name, f"{info.parameters:,}", f"{info.macs / 1e9:.3f} G", str(info.preprocess.crop),
        top1, top5, by, info.licence, info.where,
    )  # fmt: skip


def _transform(spec: Preprocess) -> str:
    how = "shorter side to" if spec.mode == "shortest" else "squashed to"
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    alpha = ", transparency on white" if spec.alpha == "white" else ""
    seen = f"{how} {spec.resize}, {spec.interpolation}, centre {spec.crop}{alpha}"
    return f"{seen}; mean {mean}, std {std} (in the graph)"
