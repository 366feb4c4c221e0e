"""The plan of a training run as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wideresnet.records.plan import Phase, TrainingPlan
from wideresnet.report.formats import pick, text_table


def to_text(plan: TrainingPlan) -> str:
    """Return the model and data, the schedule phase by phase, and the time and memory it takes."""
    heads = ("epochs", "pixels", "rate", "steps", "MACs", "s a step", "images/s")
    rows = [heads, *(_row(plan, phase) for phase in plan.phases)]
    if {phase.taught for phase in plan.phases} == {True, False}:       # its answers are kept after the first epochs
        teacher = ["teacher", *("answers" if phase.taught else "kept" for phase in plan.phases)]
        rows = [(*row, cell) for row, cell in zip(rows, teacher, strict=True)]
    evaluations = f"{plan.evaluations} evaluation{'s' * (plan.evaluations != 1)} of {plan.evaluation_seconds:.0f} s"
    return "\n".join(
        [
            f"{plan.architecture}, {plan.parameters:,} parameters, {plan.precision}, batch {plan.batch_size}",
            f"{plan.data}: {plan.train:,} images of {plan.classes} classes, {plan.test:,} to test",
            "",
            text_table(rows, {1, 3, 4, 5, 6}),
            "",
            f"{plan.steps:,} steps and {evaluations}: about {duration(plan.seconds)} at the speed measured just now",
            *([f"{plan.runs} seeds, one after another: about {duration(plan.runs * plan.seconds)}"] * (plan.runs > 1)),
            _memory(plan),
        ]
    )


def to_json(plan: TrainingPlan) -> dict[str, Any]:
    """Return the record and its sums as JSON values; times in seconds, memory in MiB."""
    return {"schema": 1, **asdict(plan), **pick(plan, "steps", "seconds", "memory_mb")}


def duration(seconds: float) -> str:
    """Return ``50 s``, ``12 min``, ``3.5 h`` or ``9.1 days``."""
    for name, unit, digits in (("days", 86_400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds:.0f} s"


def _memory(plan: TrainingPlan) -> str:
    total = f"memory: about {plan.memory_mb:,.0f} MB"
    if plan.answers_mb:
        total += f" with {plan.answers_mb:,.0f} of the teacher's answers"
    if plan.disk_mb:
        return f"{total}; the decoded images take {plan.disk_mb:,.0f} MB of the disk instead"
    return f"{total}, of which {plan.pictures_mb:,.0f} are the images"


def _row(plan: TrainingPlan, phase: Phase) -> tuple[str, ...]:
    first, highest, last = phase.rates
    rates = (first, highest, last) if highest > max(first, last) else (first, last)
    return (
        f"{phase.first + 1}-{phase.last + 1}", f"{phase.side}",
        " → ".join(f"{rate:.3g}" for rate in rates) if first != last else f"{first:.3g}",
        f"{phase.epochs * plan.steps_per_epoch:,}", f"{phase.macs / 1e6:,.0f} M", f"{phase.step_seconds:.3f}",
        f"{plan.batch_size / phase.step_seconds:,.0f}",
    )  # fmt: skip
