"""A cascade of networks: run on images, certified, and written as a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, check_target, network_of, write_bundle
from wideresnet.bundle.bundle import tool_versions
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines import Engine, open_engine
from wideresnet.engines.cascade import class_columns
from wideresnet.engines.throughput import tune_settings
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.loader import load_batches
from wideresnet.logits import check_logits
from wideresnet.machine import available_cpus
from wideresnet.records import Cascade, CascadeMember, CascadeReport, Item, Labels, Measured, ModelCard, Progress
from wideresnet.records.comparison import ComparisonReport
from wideresnet.records.evaluation import EvalReport
from wideresnet.records.images import Batch, Failure, Preprocess
from wideresnet.records.inference import InferenceSettings
from wideresnet.tasks.cascade.certify import Certification, certify, halves
from wideresnet.tasks.cascade.rule import Answers, Measurement, answering_member
from wideresnet.tasks.evaluate.comparison import compare_pairs
from wideresnet.tasks.evaluate.evaluate import empty_report, masked_classes, score_logits
from wideresnet.tasks.evaluate.label_order import check_label_order
from wideresnet.tasks.evaluate.metrics import accumulate
from wideresnet.tasks.evaluate.training_images import training_warning
from wideresnet.tasks.quantize.calibration_data import count_skipped, gate_images


@dataclass(frozen=True)
class _Outputs:
    """The readable images, and the logits [N, C] of every member for them, in the last member's order of classes."""

    items: list[Item]
    failures: list[Failure]
    logits: tuple[NDArray[np.float32], ...]


def open_images(path: Path, labels: Labels) -> LabelledData:
    """Open images, labelled or not, that were not used for training; items without label where there are none.

    Raises DataError if there are none.
    """
    name, items = gate_images(path, labels)
    return LabelledData(name, list(items), len(labels.names), skipped=count_skipped(None, path, labels))


def make_cascade(
    members: Sequence[Bundle], data: LabelledData, max_drop: float, settings: InferenceSettings, output: Path
) -> Generator[Progress, None, CascadeReport]:
    """Certify a cascade of ``members``, fastest first, on ``data``, and write it as ``output`` if a rule passes.

    ``max_drop`` is the largest accepted loss of top-1 against the last member, or without labels the largest fraction
    of other answers; a fraction of 1. Raises ConfigError for members that make no cascade, DataError for too few
    images and for labels in another order than the classes.
    """
    check_target(output)
    columns = _check_members(members)
    options, settings = tune_settings(members[-1], settings)
    engines = [open_engine(member, settings.engine, options) for member in members]
    specs = [member.card.preprocess for member in members]
    outputs = yield from _run(engines, columns, specs, data, settings.batch_size)
    labelled = all(item.label is not None for item in outputs.items)
    labels = [item.label for item in outputs.items] if labelled else outputs.logits[-1].argmax(1)
    macs = tuple(network_of(member.card).macs(member.card.preprocess.crop) for member in members)
    blank = empty_report(members[-1].card, members[-1].labels, engines[-1].info, data)
    if labelled:
        scored = score_logits(outputs.items, outputs.logits[-1], data.present)
        check_label_order(accumulate(scored, blank, masked_classes(data)), members[-1].labels)
    yield Progress("choosing a rule", 0, 0)
    answers = Answers(outputs.logits, np.array(labels, np.int64), macs)
    certified = certify(answers, max_drop)
    comparison = _compare(answers, certified, outputs.items, blank)
    described = tuple(
        CascadeMember(member.card.name, member.sha256, member.card.preprocess, cost, temperature)
        for member, cost, temperature in zip(members, macs, certified.temperatures, strict=True)
    )
    cascade = Cascade(
        described, certified.point, max_drop, data.name, data.sha256, certified.n_choice, labelled,
        engines[-1].info.runtime, engines[-1].info.precision,
    )  # fmt: skip
    if cascade.certified:
        write_bundle(output, cascade_bundle(members, cascade, comparison.b))
    notes = dict.fromkeys((*data.notes, *(note for member in members for note in training_warning(member, data.items))))
    return CascadeReport(
        str(output) if cascade.certified else "", cascade, certified.curve, certified.needed, comparison.flips,
        tuple(outputs.failures), tuple(notes), data.skipped,
    )  # fmt: skip


def cascade_bundle(members: Sequence[Bundle], cascade: Cascade, measured: EvalReport | None = None) -> Bundle:
    """Return the bundle of a cascade; its card has the accuracy ``measured``, if the images had labels."""
    first, last = members[0].card, members[-1].card
    counts = measured if measured and cascade.labelled else None
    accuracy = [
        Measured(cascade.data, counts.n, counts.correct1, counts.correct5, cascade.engine, cascade.precision)
    ] if counts else []  # fmt: skip
    decides = repr(([member.sha256 for member in members], cascade.point, [m.temperature for m in cascade.members]))
    card = ModelCard(
        name=f"{last.name}-cascade", architecture=last.architecture, classes=last.classes, preprocess=first.preprocess,
        precision=last.precision, licence=last.licence, weights_sha256=hashlib.sha256(decides.encode()).hexdigest(),
        labels_name=last.labels_name, measured=tuple(accuracy), made_with=tool_versions(), variant=last.variant,
        assumed=tuple(dict.fromkeys(note for member in members for note in member.card.assumed)), cascade=cascade,
    )  # fmt: skip
    return Bundle(card, members[-1].labels, b"", members=tuple(members))


def _check_members(members: Sequence[Bundle]) -> list[NDArray[np.intp] | None]:
    """Return ``class_columns``. Raises ConfigError for networks that make no cascade."""
    if len(members) < 2:
        raise ConfigError("a cascade has two networks or more", hint="name the fastest first, the most accurate last")
    for member in members:
        member.check_single()
    if len({member.card.preprocess.alpha for member in members}) > 1:
        hint = "write one of them with the other --alpha first"
        raise ConfigError("the networks treat transparent images differently", hint)
    if len(members[-1].labels.names) < 2:
        raise ConfigError(f"{members[-1].card.name} has one class", hint="a cascade needs two or more")
    return class_columns(members)


def _run(
    engines: Sequence[Engine], columns: Sequence[NDArray[np.intp] | None], specs: Sequence[Preprocess],
    data: LabelledData, batch_size: int,
) -> Generator[Progress, None, _Outputs]:  # fmt: skip
    """Run all members on all images, which are decoded once."""
    batches = load_batches(data.items, specs, batch_size=batch_size, threads=available_cpus(), exif=data.exif)
    *copies, order = tee(batches, len(engines) + 1)

    def crops(copy: Iterable[Batch], number: int) -> Iterator[NDArray[np.uint8]]:
        return ((batch.pixels, *batch.further)[number] for batch in copy)

    items, failures, rows = list[Item](), list[Failure](), list[list[NDArray[np.float32]]]()
    streams = [engine.stream(crops(copy, n)) for n, (engine, copy) in enumerate(zip(engines, copies, strict=True))]
    for batch, *outputs in zip(order, *streams, strict=True):
        rows.append([o if c is None else np.take(o, c, axis=1) for o, c in zip(outputs, columns, strict=True)])
        items += batch.items
        failures += batch.failures
        yield Progress("running the members", len(items) + len(failures), len(data.items))
    if not items:
        raise DataError(f"no image of {data.name} can be read", hint="give others with --data")
    logits = tuple(map(np.concatenate, zip(*rows, strict=True)))
    for values in logits:
        check_logits(values)
    return _Outputs(items, failures, logits)


def _compare(
    answers: Answers, certified: Certification, items: Sequence[Item], blank: EvalReport
) -> ComparisonReport:
    """Compare the last member alone (A) with the cascade (B) on the certifying images."""
    rows, point = halves(answers.labels)[1], certified.point
    part = answers.take(rows)
    sure = Measurement(part, certified.temperatures).certainties[point.rule]
    member = answering_member(sure, point.thresholds)
    logits = np.stack(part.logits)[member, np.arange(len(rows))]
    labelled = [replace(items[row], label=label) for row, label in zip(rows, part.labels.tolist(), strict=True)]
    present = range(logits.shape[1])
    pairs = zip(*(score_logits(labelled, values, present) for values in (part.logits[-1], logits)), strict=True)
    return compare_pairs(list(pairs), (blank, replace(blank, model=f"{blank.model}-cascade")))
