"""A cascade of networks: run on images, certified, and written as a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, check_target, network_of, write_bundle
from wideresnet.bundle.bundle import tool_versions
from wideresnet.datasets.copies import count_shared
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines.throughput import tune_settings
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.loader import load_batches
from wideresnet.logits import check_logits
from wideresnet.records import Cascade, CascadeMember, CascadeReport, Failure, Item, Measured, Progress
from wideresnet.records.accuracy import EngineInfo
from wideresnet.records.comparison import ComparisonReport
from wideresnet.records.evaluation import EvalReport
from wideresnet.records.inference import InferenceSettings
from wideresnet.tasks.cascade.certify import certify, halves
from wideresnet.tasks.cascade.rule import Answers, Logits, Measurement
from wideresnet.tasks.cascade.speed import measure_speed
from wideresnet.tasks.evaluate.comparison import compare_pairs
from wideresnet.tasks.evaluate.evaluate import empty_report, masked_classes, score_logits
from wideresnet.tasks.evaluate.label_order import check_label_order
from wideresnet.tasks.evaluate.metrics import accumulate
from wideresnet.tasks.evaluate.training_images import training_warning
from wideresnet.tasks.load.load import open_classifier
from wideresnet.weights.catalogue import CATALOGUE

# Images, those that failed, the logits of a member or of all, and its engine or the last one's.
_Run = tuple[list[Item], list[Failure], Logits, EngineInfo]
_Runs = tuple[list[Item], list[Failure], list[Logits], EngineInfo]


def split_member(name: str) -> tuple[str, int]:
    """Return the model and the pixels of NAME@PIXELS; 0 pixels for a file or a published name that has them in it."""
    model, _, side = name.rpartition("@")
    is_split = model and side.isdecimal() and name not in CATALOGUE and not Path(name).exists()
    return (model, int(side)) if is_split else (name, 0)


def make_cascade(
    members: Sequence[Bundle], data: LabelledData, max_drop: float, settings: InferenceSettings, output: Path
) -> Generator[Progress, None, CascadeReport]:
    """Certify a cascade of ``members``, fastest first, on ``data``, and write it as ``output`` if a rule passes.

    ``max_drop`` is the largest accepted loss of top-1 against the last member, or without labels the largest fraction
    of other answers; a fraction of 1. Photographs are turned upright. Raises ConfigError for members that make no
    cascade, DataError for too few images and for labels in another order than the classes.
    """
    check_target(output, *(path for member in members for path in (member.folder, member.source)))
    _check_members(members)
    data = replace(data, exif="transpose")         # as classify and serve do
    items, failures, logits, info = yield from _run_all(members, data, settings)
    blank = empty_report(members[-1].card, members[-1].labels, info, data)
    labelled = all(item.label is not None for item in items)
    if labelled:
        scored = score_logits(items, logits[-1], data.present)
        check_label_order(accumulate(scored, blank, masked_classes(data)), members[-1].labels)
    else:
        items = [replace(item, label=answer) for item, answer in zip(items, logits[-1].argmax(1).tolist(), strict=True)]
    yield Progress("choosing a rule", 0, 0)
    macs = [network_of(member.card).macs(member.card.preprocess.crop) for member in members]
    answers = Answers(tuple(logits), np.array([item.label for item in items], np.int64), tuple(macs))
    same_arithmetic = len({member.card.precision == "int8" for member in members}) == 1
    certified = certify(answers, max_drop, macs[-1] if same_arithmetic else 0)
    point, n_choice, ran = certified.point, certified.n_choice, (info.runtime, info.precision)
    choosing, rows = halves(answers.labels)
    answering = Measurement(answers.take(rows), certified.temperatures).answering(point.rule, point.thresholds)
    comparison = _compare(answers.take(rows), answering, [items[row] for row in rows], blank)
    described = tuple(
        CascadeMember(member.card.name, member.sha256, member.card.preprocess, cost, temperature)
        for member, cost, temperature in zip(members, macs, certified.temperatures, strict=True)
    )
    cascade = Cascade(described, point, max_drop, data.name, data.sha256, n_choice, labelled, *ran)
    if cascade.certified:
        bundle, measured = cascade_bundle(members, cascade), comparison.b if labelled else None
        speed = yield from measure_speed(bundle, data, [items[row] for row in rows], answering, settings)
        cascade = replace(cascade, speed=speed)
        write_bundle(output, cascade_bundle(members, cascade, measured))
    notes = [*data.notes, *(note for member in members for note in training_warning(member, data.items))]
    if count := count_shared([items[row] for row in choosing], [items[row] for row in rows]):
        notes += [f"{count:,} of the images that certify are copies of some that chose the rule: the bound is too low"]
    return CascadeReport(
        str(output) if cascade.certified else "", cascade, certified.curve, certified.needed, comparison,
        tuple(failures), tuple(dict.fromkeys(notes)), data.skipped,
    )  # fmt: skip


def cascade_bundle(members: Sequence[Bundle], cascade: Cascade, measured: EvalReport | None = None) -> Bundle:
    """Return the bundle of a cascade; its card has the accuracy ``measured``, if the images had labels."""
    first, last, where = members[0].card, members[-1].card, (cascade.engine, cascade.precision)
    decides = repr(([member.sha256 for member in members], cascade.point, [m.temperature for m in cascade.members]))
    card = replace(
        last, name=f"{last.name}-cascade", preprocess=first.preprocess, cascade=cascade, made_with=tool_versions(),
        weights_sha256=hashlib.sha256(decides.encode()).hexdigest(), weights_source="", published=(), notes={},
        measured=tuple(Measured(cascade.data, m.n, m.correct1, m.correct5, *where) for m in (measured,) if m),
        assumed=tuple(dict.fromkeys(note for member in members for note in member.card.assumed)),
        calibration=(), quantised=None, gate=None, uncertainty=None,
    )  # fmt: skip
    return Bundle(card, members[-1].labels, b"", members=tuple(members))


def _check_members(members: Sequence[Bundle]) -> None:
    """Raise ConfigError for networks that make no cascade."""
    last = members[-1]
    if len(members) < 2 or len(last.labels.names) < 2:
        hint = "name the fastest first, the most accurate last, of two classes or more"
        raise ConfigError("a cascade has two networks or more", hint)
    for member in members:
        member.check_single()
        if (member.labels.ids or member.labels.names) != (last.labels.ids or last.labels.names):
            hint = "the networks of a cascade have the same classes at the same indices"
            raise ConfigError(f"{member.card.name} and {last.card.name} have other classes, or another order", hint)
        if member.card.preprocess.alpha != last.card.preprocess.alpha:
            raise ConfigError("the networks treat transparent images differently", "give them the same 'alpha'")


def _run_all(
    members: Sequence[Bundle], data: LabelledData, settings: InferenceSettings
) -> Generator[Progress, None, _Runs]:
    """Run all members and return the images that all of them answered, the failures of any, and the logits of each.

    A member decodes for itself, and a decoding that takes too long may fail for one of them only. Raises DataError if
    no image is left.
    """
    runs = []
    for member in members:
        runs.append((yield from _run(member, data, settings)))
    paths = set.intersection(*({item.path for item in items} for items, *_ in runs))
    if not paths:
        raise DataError(f"no image of {data.name} can be read", hint="give others with --data")
    failures = {failure.path: failure for _, failed, *_ in runs for failure in failed}
    logits = [values[[item.path in paths for item in items]] for items, _, values, _ in runs]
    items, *_, info = runs[-1]
    return [item for item in items if item.path in paths], list(failures.values()), logits, info


def _run(member: Bundle, data: LabelledData, settings: InferenceSettings) -> Generator[Progress, None, _Run]:
    """Return the readable images, the failures, the logits of a member, and its engine."""
    options, tuned = tune_settings(member, replace(settings, precision=member.card.arithmetic(settings.precision)))
    classifier, spec = open_classifier(member, tuned.engine, options), member.card.preprocess
    items, failures, rows = list[Item](), list[Failure](), list[Logits]()
    for batch, logits in classifier.stream(load_batches(data.items, spec, batch_size=tuned.batch_size, exif=data.exif)):
        rows.append(logits)
        items += batch.items
        failures += batch.failures
        yield Progress(f"running {member.card.name}", len(items) + len(failures), len(data.items))
    logits = np.concatenate(rows) if rows else np.zeros((0, len(member.labels.names)), np.float32)
    check_logits(logits)
    return items, failures, logits, classifier.engine.info


def _compare(
    answers: Answers, answering: NDArray[np.int64], items: Sequence[Item], blank: EvalReport
) -> ComparisonReport:
    """Compare the last member alone (A) with the cascade (B) of which the members ``answering`` [N] answer."""
    present = range(answers.logits[-1].shape[1])
    sides = answers.logits[-1], np.stack(answers.logits)[answering, np.arange(len(items))]
    pairs = zip(*(score_logits(items, side, present) for side in sides), strict=True)
    return compare_pairs(list(pairs), (blank, replace(blank, model=f"{blank.model}-cascade")))
