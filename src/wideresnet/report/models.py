"""Models as a table, and one model as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wideresnet.records import ModelInfo, Preprocess
from wideresnet.report import calibration, cascade
from wideresnet.report.formats import grouped_table, json_percent, pick, rgb_text, text_table
from wideresnet.report.names import class_names, first_names

THOP = "thop: what the tool thop counts, MACs + 4 x the elements that pass a batch norm."
RULES = f"MACs: multiply-accumulates of convolutions and classifier. FLOPs: 2 x MACs.\n{THOP}"


def to_table(infos: Iterable[ModelInfo]) -> str:
    """Return one row of text a model, with a heading where the models are kept."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for info in infos:
        groups.setdefault(info.where, []).append(_row(info))
    return grouped_table(("name", "parameters", "MACs", "px", "top-1", "top-5", "by"), groups, right={1, 2, 3, 4, 5})


def to_text(info: ModelInfo) -> str:
    """Return all that is known of one model, a line each."""
    name_of, count = class_names(info.class_labels), len(info.class_labels.names)
    names = f": {first_names([name_of(index) for index in range(count)])}" if count else ""
    rows = [
        ("name", info.name),
        ("architecture", info.architecture),
        ("parameters", f"{info.parameters:,}"),
        ("MACs", f"{_giga(info.macs)} {'on average' if info.cascade else f'at {info.preprocess.crop} px'}"),
        ("thop", _giga(info.thop_macs)),
        ("FLOPs", _giga(info.flops)),
        ("input", f"RGB uint8 [N, {info.preprocess.crop}, {info.preprocess.crop}, 3]"),
        ("preprocess", _transform(info.preprocess)),
        ("labels", f"{info.labels or ('own' if count else 'none')}, {info.classes} classes{names}"),
        ("licence", info.licence or "that of whoever trains it"),
        ("where", info.where),
    ]
    for published in info.published:
        accuracy = f"{100 * published.top1:.3f} / {100 * published.top5:.3f} %"
        rows.append(("published", f"{accuracy}  ({published.source})"))
    for measured in info.measured:
        accuracy = f"{100 * measured.correct1 / measured.n:.2f} / {100 * measured.correct5 / measured.n:.2f} %"
        conditions = f"{measured.data}, n = {measured.n}, {measured.engine}, {measured.precision}"
        rows.append(("measured", f"{accuracy}  ({conditions})"))
    rows += [(key, value) for key, value in info.notes.items() if "\n" not in value]
    rows += [("assumed", assumption) for assumption in info.assumed]
    rows += cascade.facts(info.cascade) if info.cascade else []
    calibrated = calibration.lines(info.uncertainty) if info.uncertainty else []
    rows += [("" if number else "calibrated", line) for number, line in enumerate(calibrated)]
    if info.file:
        rows += [("scheme", info.file.scheme), *(("evidence", line) for line in info.file.evidence)]
        rows += [("used", f"{len(info.file.used)} layers; --format json lists them")]
        rows += [("ignored", f"{name}, {reason}") for name, reason in info.file.ignored.items()]
    return f"{text_table(rows, wrap=True)}\n\n{RULES}"


def to_json(info: ModelInfo) -> dict[str, Any]:
    """Return a model as JSON values; ``input`` is the batch the graph takes, published accuracies are in percent."""
    side = info.preprocess.crop
    return {
        **pick(info, "name", "architecture", "parameters", "macs", "thop_macs", "flops", "classes"),
        "input": {"dtype": "uint8", "layout": "NHWC", "colour": "RGB", "shape": ["N", side, side, 3]},
        **pick(info, "preprocess"),
        "labels": info.labels or None,
        **({"class_names": list(info.class_labels.names)} if info.class_labels.names else {}),
        "licence": info.licence or None,
        "where": info.where,
        "published": [
            {"top1": json_percent(row.top1), "top5": json_percent(row.top5), "source": row.source}
            for row in info.published
        ],
        **pick(info, "measured", "notes", "assumed"),
        **({"calibrated": calibration.figures(info.uncertainty)} if info.uncertainty else {}),
        **(pick(info, "variant") if info.variant else {}),
        **({"cascade": cascade.card_json(info.cascade)} if info.cascade else {}),
        **(pick(info.file, "scheme", "evidence", "used", "ignored") if info.file else {}),
    }


def _row(info: ModelInfo) -> tuple[str, ...]:
    top1, top5, source = "", "", ""
    if info.measured:
        best = info.measured[0]
        top1, top5, source = f"{100 * best.correct1 / best.n:.2f}", f"{100 * best.correct5 / best.n:.2f}", "measured"
    elif info.published:
        first = info.published[0]
        top1, top5, source = f"{100 * first.top1:.2f}", f"{100 * first.top5:.2f}", first.source.split()[0]
    parameters = f"{info.parameters / 1e6:.2f} M"
    return info.name, parameters, f"{info.macs / 1e9:.2f} G", str(info.preprocess.crop), top1, top5, source


def _giga(count: int) -> str:
    return f"{count / 1e9:.3f} G"


def _transform(spec: Preprocess) -> str:
    resize = "shorter side to" if spec.mode == "shortest" else "squashed to"
    mean, std = rgb_text(spec.mean), rgb_text(spec.std)
    alpha = ", transparency on white" if spec.alpha == "white" else ""
    return (
        f"{resize} {spec.resize}, {spec.interpolation}, centre {spec.crop}{alpha};"
        f" mean {mean}, std {std} (in the graph)"
    )
