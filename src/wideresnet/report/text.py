"""Records as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wideresnet.records import CompileReport, EvalReport, Failure, ModelInfo, Prediction, Preprocess

RULES = (
    "MACs: multiply-accumulates of convolutions and classifier. FLOPs: 2 x MACs.\n"
    "thop: what the tool thop counts, MACs + 4 x the elements that pass a batch norm."
)


def of_prediction(prediction: Prediction) -> str:
    """One line a picture: its name and its classes, likeliest first."""
    classes = (f"{p.label} {100 * p.probability:.1f} %" for p in prediction.predictions)
    # Answers are printed as they come, so that the widest name is not known yet.
    return f"{prediction.path:<24}  {' · '.join(classes)}"


def of_failure(failure: Failure) -> str:
    """One picture that could not be read, in one line or two."""
    return f"{failure.path}: {failure.error}" + (f"\n  hint: {failure.hint}" if failure.hint else "")


def of_evaluation(report: EvalReport) -> str:
    """A report in four lines, with the conditions it holds under."""
    low, high = report.interval95
    engine = report.engine
    lines = [
        f"{report.model} on {report.data}",
        f"  top-1  {100 * report.top1:.3f} %   ({report.correct1} of {report.n};"
        f" 95 % interval {100 * low:.2f} to {100 * high:.2f})",
        f"  top-5  {100 * report.top5:.3f} %   ({report.correct5} of {report.n})",
        f"  {report.seconds:.1f} s with {engine.runtime} {engine.version}, {engine.precision},"
        f" {engine.threads} threads; {len(report.failures)} failures",
    ]
    return "\n".join(lines)


def of_compilation(report: CompileReport) -> str:
    """What was made, how far it is from the original, and what the gate says."""
    share = report.size_bytes / report.size_bytes_reference
    lines = [
        f"{report.bundle}: {report.precision}, {report.size_bytes / 1e6:.1f} MB, {share:.0%} of fp32"
        + (f", {report.calibration} calibration pictures" if report.calibration else "")
    ]
    for engine in dict.fromkeys(each.engine for each in report.verified):
        worst = max(each.relative for each in report.verified if each.engine == engine)
        lines.append(f"  verified in {engine}: logits within {worst:.2g} of their spread at batch 1, 2 and 7")
    gate = report.gate
    if gate is None:
        return "\n".join([*lines, "  accuracy was not measured: no labelled pictures were given"])
    low, high = (100 * share for share in gate.interval95)
    limit = "no gate" if gate.limit is None else f"gate {100 * gate.limit:g}: {'passed' if gate.passed else 'FAILED'}"
    lines += [
        f"  top-1 {100 * gate.top1_reference:.3f} -> {100 * gate.top1:.3f} %,"
        f" top-5 {100 * gate.top5_reference:.3f} -> {100 * gate.top5:.3f} % on {gate.data}, n = {gate.n}",
        f"  drop {100 * gate.drop:.3f} points (95 % interval {low:.3f} to {high:.3f}, McNemar p = {gate.p_value:.2g});"
        f" {limit}",
        f"  same answer for {100 * gate.agreement:.2f} %, mean KL {gate.mean_kl:.2g} nats,"
        f" {gate.engine.runtime} {gate.engine.version} in {gate.engine.precision}",
    ]
    return "\n".join(lines)


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
    return columns(lines, right=set()) + "\n\n" + RULES


def columns(rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """Rows of cells, padded to columns; those in ``right`` are set to the right."""
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
    return f"{how} {spec.resize}, {spec.interpolation}, centre {spec.crop}; mean {mean}, std {std} (in the graph)"
