"""Records as plain JSON documents. The field names are stable: scripts rely on them."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wideresnet.errors import DataError
from wideresnet.pipes import read_text
from wideresnet.records import (
    CompileReport,
    EvalReport,
    Failure,
    GateReport,
    Masked,
    ModelInfo,
    Prediction,
    Published,
    Trial,
    wilson_interval,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def of_answer(answer: Prediction | Failure) -> dict[str, Any]:
    """``{path, predictions: [{index, label, probability}, …]}``, or ``{path, error, hint}``."""
    return asdict(answer)


def of_evaluation(report: EvalReport) -> dict[str, Any]:
    """Accuracies and intervals in percent; ``precision`` is what was executed.

    ``masked`` is null unless the data holds a subset of the network's classes. ``counts`` is the whole report as
    it adds up: what ``read_evaluation`` reads.
    """
    engine, masked = report.engine, report.masked
    return {
        "schema": 1,
        "model": report.model,
        "data": report.data,
        "top1": percent(report.top1),
        "top5": percent(report.top5),
        "n": report.n,
        "correct1": report.correct1,
        "correct5": report.correct5 if report.known >= 5 else None,
        "failures": [asdict(failure) for failure in report.failures],
        "interval95": [percent(share) for share in report.interval95],
        "interval95_top5": [percent(share) for share in report.interval95_top5],
        "masked": _of_masked(masked, report.n) if masked else None,
        "calibration_error": percent(report.calibration_error),
        "seconds": round(report.seconds, 3),
        "engine": engine.runtime if engine else None,
        "engine_version": engine.version if engine else None,
        "threads": engine.threads if engine else None,
        "precision": engine.precision if engine else None,
        "shards": list(report.conditions.shards) if report.conditions else [],
        "assumed": list(report.conditions.assumed) if report.conditions else [],
        "skipped": asdict(report.skipped),
        "warnings": list(report.warnings),
        "counts": asdict(report),
    }


def read_evaluation(path: Path) -> EvalReport:
    """The report in a file that holds the document of ``of_evaluation``. Raises DataError for another file."""
    try:
        return _counts().validate_python(json.loads(read_text(path, errors="replace"))["counts"])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:       # pydantic's is a ValueError
        raise DataError(
            f"{path} holds no evaluation", hint="'wrn evaluate --format json' and 'wrn merge --format json' print one"
        ) from error


@cache
def _counts() -> TypeAdapter[EvalReport]:
    from pydantic import TypeAdapter  # whoever prints an answer starts sooner

    return TypeAdapter(EvalReport)


def _of_masked(masked: Masked, n: int) -> dict[str, Any]:
    """Accuracies among the classes of the data only."""
    return {
        "classes": masked.classes,
        "correct1": masked.correct1,
        "correct5": masked.correct5,
        "top1": percent(masked.correct1 / n),
        "top5": percent(masked.correct5 / n),
        "interval95": [percent(share) for share in wilson_interval(masked.correct1, n)],
    }


def of_compilation(report: CompileReport) -> dict[str, Any]:
    """``gate`` is null where nothing was compared; ``layers`` and ``trials`` are empty unless asked for."""
    return {
        "bundle": report.bundle,
        "precision": report.precision,
        "size_bytes": report.size_bytes,
        "size_bytes_fp32": report.size_bytes_reference,
        "verified": [asdict(each) for each in report.verified],
        "calibration": report.calibration,
        "gate": _of_gate(report.gate) if report.gate else None,
        "quantised": asdict(report.quantised) if report.quantised else None,
        "layers": [asdict(layer) for layer in report.layers],
        "trials": [_of_trial(trial) for trial in report.trials],
        "finished": report.finished,
        "failures": [asdict(failure) for failure in report.failures],
        "notes": list(report.notes),
        "assumed": list(report.assumed),
        "skipped": asdict(report.skipped),
    }


def _of_gate(gate: GateReport) -> dict[str, Any]:
    """Accuracies in percent, ``drop``, its interval and ``limit`` in percentage points.

    Without labels ``kind`` is "agreement": accuracies, drop and their tests are null, ``limit`` is the agreement
    demanded.
    """
    return {
        "kind": gate.kind,
        "data": gate.data,
        "n": gate.n,
        "failures": gate.failures,
        "top1_reference": percent(gate.top1_reference),
        "top1": percent(gate.top1),
        "top5_reference": percent(gate.top5_reference),
        "top5": percent(gate.top5),
        "drop": percent(gate.drop),
        "interval95": [percent(share) for share in gate.interval95] if gate.interval95 else None,
        "p_value": gate.p_value,
        "agreement": percent(gate.agreement),
        "mean_kl": gate.mean_kl,
        "limit": percent(gate.limit),
        "passed": gate.passed,
        "engine": gate.engine.runtime,
        "precision": gate.engine.precision,
        "warnings": list(gate.warnings),
    }


def _of_trial(trial: Trial) -> dict[str, Any]:
    """``gate`` is null where the graph did not pass its verification."""
    return {
        **asdict(trial.settings),
        "gate": _of_gate(trial.gate) if trial.gate else None,
        "speedup": trial.speedup,
        "seconds": round(trial.seconds, 3),
    }


def of_model(info: ModelInfo) -> dict[str, Any]:
    """``input`` is the batch the graph takes; published accuracies in percent with their sources."""
    side = info.preprocess.crop
    return {
        "name": info.name,
        "architecture": info.architecture,
        "parameters": info.parameters,
        "macs": info.macs,
        "thop_macs": info.thop_macs,
        "flops": info.flops,
        "classes": info.classes,
        "input": {"dtype": "uint8", "layout": "NHWC", "colour": "RGB", "shape": ["N", side, side, 3]},
        "preprocess": asdict(info.preprocess),
        "labels": info.labels or None,
        "licence": info.licence or None,
        "where": info.where,
        "published": [_of_published(each) for each in info.published],
        "measured": [asdict(each) for each in info.measured],
        "notes": info.notes,
        "assumed": list(info.assumed),
    }


def percent(share: float | None) -> float | None:
    """A fraction in percent, to the thousandth; None for nan, which JSON does not have, and for None."""
    return round(100 * share, 3) if share is not None and share == share else None


def _of_published(published: Published) -> dict[str, Any]:
    return {"top1": percent(published.top1), "top5": percent(published.top5), "source": published.source}
