"""Numbers, engines and tables in the form that all reports give them."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from itertools import islice
from typing import Any

from wideresnet.records import RGB, EngineInfo, PassedOn
from wideresnet.report.escape import printable

WIDTH = 80                                         # of a terminal
BUSY = 0.3                                         # of the CPUs: load above it disturbs a measurement


def percent(fraction: float | None, digits: int = 3) -> str:
    """Return a fraction in percent; a dash for None and nan. Nothing else is rounded to 0 or 100."""
    if fraction is None or fraction != fraction:
        return "–"
    value, least = 100 * fraction, 10.0**-digits
    return f"{min(max(value, least), 100 - least) if 0 < fraction < 1 else value:.{digits}f} %"


def json_percent(fraction: float | None) -> float | None:
    """Return a fraction in percent, to the thousandth; None for None and for nan, which JSON does not have."""
    return round(100 * fraction, 3) if fraction is not None and fraction == fraction else None


def interval_text(interval: tuple[float, float], digits: int = 2) -> str:
    """Return an interval of fractions in percent, without the unit: ``88.82 to 97.85``."""
    low, high = interval
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}"


def engine_text(engine: EngineInfo) -> str:
    """Return an engine's name and version, and the precision that it executes."""
    return f"{engine.runtime} {engine.version}, {engine.precision}"


def passed_on_text(images: PassedOn) -> str:
    """Return the fraction of images that a cascade passed on, and whether it is that of the certification."""
    text = f"passed on: {percent(images.images / max(1, images.n), 2)} of {images.n:,} images"
    if not images.is_unusual:
        return text
    expected = f"outside {interval_text(images.certified95)} % at certification"
    return f"{text}, {expected}: these images may be of another kind"


def model_text(name: str, classes: int, pixels: int, engine: EngineInfo | str) -> str:
    """Return who answers: a model, its classes and input, and the engine that runs it, or its name."""
    if not isinstance(engine, str):
        engine = f"{engine_text(engine)}, {engine.threads} thread{'s' if engine.threads != 1 else ''}"
    return f"{name}: {classes:,} classes, {pixels}x{pixels} pixels, {engine}"


def command_text(arguments: Sequence[str]) -> str:
    """Return a command of ``wrn`` as a shell reads it."""
    return shlex.join(["wrn", *arguments])


def busy_text(machine: Mapping[str, object]) -> str:
    """Return a sentence if other work loaded the machine before a measurement; ``machine`` is ``machine_facts``."""
    load, cpus = machine.get("load1"), machine.get("cpus")
    if not isinstance(load, float) or not isinstance(cpus, int) or load <= BUSY * cpus:
        return ""
    return f"the machine was busy before the start, load {load:g} on {cpus} CPUs: measure again when it is free"


def pick(record: Any, *names: str) -> dict[str, Any]:
    """Return attributes of a record as JSON values, records in them as objects and tuples as lists."""
    return {name: plain(getattr(record, name)) for name in names}


def plain(value: Any) -> Any:
    """Return a JSON value: records as objects, tuples as lists, and null for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(plain, value))
    is_record = is_dataclass(value) and not isinstance(value, type)
    return plain(asdict(value)) if is_record else None if value != value else value


def pick_percent(record: Any, *names: str) -> dict[str, Any]:
    """Return attributes of a record in percent (see ``json_percent``): fractions, or intervals of them as lists."""
    values = {name: getattr(record, name) for name in names}
    return {name: list(map(json_percent, v)) if isinstance(v, tuple) else json_percent(v) for name, v in values.items()}


def pick_engine(engine: EngineInfo | None, *, threads: bool = False) -> dict[str, Any]:
    """Return an engine as the JSON values of a report, all null without one."""
    return {
        "engine": engine and engine.runtime,
        "engine_version": engine and engine.version,
        **({"threads": engine and engine.threads} if threads else {}),
        "precision": engine and engine.precision,
    }


def rgb_text(values: RGB) -> str:
    """Return three numbers of four digits, as ``0.485 0.456 0.406``."""
    return " ".join(f"{value:.4g}" for value in values)


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = (), *, wrap: bool = False) -> str:
    """Return rows of cells padded to columns; those in ``right`` are aligned to the right.

    Gaps are narrower where the table fits into ``WIDTH`` only so. With ``wrap`` the last column is wrapped there.
    """
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    narrow = sum(widths) + len(widths) - 1
    gap = " " if narrow <= WIDTH < narrow + len(widths) - 1 else "  "
    indent = " " * (sum(widths[:-1]) + len(gap) * (len(widths) - 1))
    if wrap:
        rows = [(*row[:-1], f"\n{indent}".join(textwrap.wrap(row[-1], WIDTH - len(indent)))) for row in rows]
    return "\n".join(
        gap.join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def filled(text: str) -> str:
    """Return a sentence in lines of at most ``WIDTH``, unless a word is longer."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def grouped_table(
    heads: Sequence[str], groups: Mapping[str, Sequence[Sequence[str]]], right: Collection[int] = ()
) -> str:
    """Return one ``text_table`` in which the name of each group stands above its rows."""
    head, *table = text_table([heads, *(row for rows in groups.values() for row in rows)], right).split("\n")
    lines = iter(table)
    blocks = (["", filled(f"{name}:"), *islice(lines, len(rows))] for name, rows in groups.items())
    return "\n".join([head, *(line for block in blocks for line in block)])
