"""A complete benchmark: interleaved measurement, fresh processes, profiles and tuning, in one report."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from wideresnet.bundle import Bundle, network_of
from wideresnet.engines.throughput import save_tuning
from wideresnet.errors import ConfigError, EngineError
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.records import BenchReport, BenchRow, EngineInfo, Peak, Profile, Progress, Tuning
from wideresnet.tasks.bench.candidates import pixels
from wideresnet.tasks.bench.fixtures import Fixtures
from wideresnet.tasks.bench.interleave import Summary, Turn, peak_fraction, summarise, take_turns
from wideresnet.tasks.bench.measure import measure, turns_of
from wideresnet.tasks.bench.memory_probe import Start, cold_start, memory_mb
from wideresnet.tasks.bench.options import BenchSettings, Entry, options_of
from wideresnet.tasks.bench.peak import open_gemms
from wideresnet.tasks.bench.profile import profile_layers, profile_stages
from wideresnet.tasks.bench.tune import tune
from wideresnet.tasks.load.load import open_classifier

FEW = 50                                           # images for memory and profiles


def bench(bundles: Sequence[Bundle], settings: BenchSettings) -> Generator[Progress, None, BenchReport]:
    """Measure ``bundles``, yielding progress, and return the report.

    Candidates that cannot run (a precision, an extra that is not installed) are listed in it. Raises WrnError if none
    can.
    """
    machine = machine_facts()                      # before anything loads the machine
    if len({bundle.card.name for bundle in bundles}) < len(bundles):
        raise ConfigError("two of the models have the same name", hint="measure them one by one")
    for bundle in bundles if settings.profile or settings.tune else ():
        bundle.check_single()
    with TemporaryDirectory(prefix="wrn-bench-") as name:
        fixtures = Fixtures(settings, bundles, Path(name))
        selected = fixtures.entries()
        running = [entry for entry in selected if entry.measurement != "startup"]
        peak, rows = Peak(), list[BenchRow]()
        if running:
            peak, rows = yield from _measure(fixtures, running)
        rows += yield from _starts(fixtures, [entry for entry in selected if entry.measurement == "startup"])
        profiles = (yield from _profiles(fixtures, selected)) if settings.profile else []
        tuned: list[Tuning] = []
        for bundle in bundles if settings.tune else ():
            tuned.append((yield from tune(bundle, settings, fixtures.folder)))
            save_tuning(bundle, tuned[-1])
        return BenchReport(
            machine, conditions(fixtures), peak, tuple(rows), tuple(profiles), tuple(tuned), fixtures.skipped,
            fixtures.skipped_files,
        )  # fmt: skip


def _measure(fixtures: Fixtures, selected: Sequence[Entry]) -> Generator[Progress, None, tuple[Peak, list[BenchRow]]]:
    """Measure speed in this process, interleaved; then the memory of each candidate in a process of its own."""
    candidates = fixtures.open(selected)
    gemms = open_gemms(max(threads or available_cpus() for threads in fixtures.settings.threads))
    results = yield from measure(candidates, gemms, fixtures.settings)
    rows = []
    for index, (candidate, summary) in enumerate(zip(candidates, results.summaries, strict=True)):
        entry = candidate.entry
        yield Progress(f"memory of {entry.name}", index, len(candidates))
        row = make_row(fixtures, entry, candidate.info, summary, results.peak)
        try:
            rows.append(replace(row, rss_mb=memory_mb(entry, fixtures.on_disk(entry), fixtures.paths(FEW))))
        except EngineError as error:
            rows.append(replace(row, note=_joined(row.note, error.message)))
    return results.peak, rows


def _starts(fixtures: Fixtures, selected: Sequence[Entry]) -> Generator[Progress, None, list[BenchRow]]:
    """Measure cold starts, without and (OpenVINO) with a cache of compiled models, in turns."""
    cache = fixtures.folder / "compiled"
    runs = [(entry, path) for entry in selected for path in (None, cache) if not path or entry.engine == "openvino"]
    calls = [partial(cold_start, entry, fixtures.on_disk(entry), fixtures.paths(1), path) for entry, path in runs]
    for index, call in enumerate(calls):           # fills the caches of compiled models and of the disk
        yield Progress(f"first start of {runs[index][0].name}", index, len(calls))
        call()
    rounds = len(turns_of(fixtures.settings))
    results: list[list[Start]] = [[] for _ in runs]
    for index, start in take_turns(calls, rounds):
        results[index].append(start)
        yield Progress(runs[index][0].name, sum(map(len, results)), rounds * len(runs))
    return [_start_row(fixtures, entry, path, starts) for (entry, path), starts in zip(runs, results, strict=True)]


def _profiles(fixtures: Fixtures, selected: Sequence[Entry]) -> Generator[Progress, None, list[Profile]]:
    """Profile each model and precision that ran in OpenVINO."""
    profiles: dict[tuple[str, str], Profile] = {}
    for entry in selected:
        if entry.engine != "openvino" or (entry.model, entry.precision) in profiles or entry.name in fixtures.skipped:
            continue
        yield Progress(f"profile of {entry.model} in {entry.precision}", len(profiles), len(selected))
        bundle, options = fixtures.model(entry), options_of(replace(entry, sync=True, streams=0))
        classifier = open_classifier(bundle, "openvino", options)
        profiles[entry.model, entry.precision] = Profile(
            entry.model,
            classifier.engine.info.precision,
            entry.batch,
            profile_layers(bundle, options, pixels(bundle, fixtures.items, entry.batch)),
            profile_stages(classifier, fixtures.items[:FEW], entry.batch) if fixtures.items else {},
        )
    return list(profiles.values())


def make_row(fixtures: Fixtures, entry: Entry, info: EngineInfo, summary: Summary, peak: Peak) -> BenchRow:
    """Return the report's row of one candidate; memory is not measured yet (NaN)."""
    card = fixtures.model(entry).card
    macs = card.cascade.point.macs if card.cascade else network_of(card).macs(card.preprocess.crop)
    limit = {"f32": peak.f32, "bf16": peak.bf16, "int8": peak.int8}.get(info.precision)
    notes = {
        "latency": "from an image's bytes" if entry.files else "engine alone",
        "engine": "one call after the other" if entry.sync else "",
        "end-to-end": "fast decode" if entry.reduced else "",
    }
    return BenchRow(
        model=entry.model,
        what=entry.measurement,
        engine=entry.engine,
        precision=info.precision,
        batch=entry.batch,
        streams=info.streams,
        threads=info.threads,
        **vars(summary),
        peak_share=peak_fraction(summary.images_per_s, macs, limit),
        rss_mb=math.nan,
        note=_joined(notes.get(entry.measurement, ""), fixtures.note(entry)),
        pixels=card.preprocess.crop,
    )


def _start_row(fixtures: Fixtures, entry: Entry, cache: Path | None, starts: Sequence[Start]) -> BenchRow:
    turns = [Turn(1, start.total_ms / 1e3, (start.total_ms / 1e3,)) for start in starts]
    row = make_row(fixtures, entry, EngineInfo(**starts[0].info), summarise(turns), Peak())
    return replace(
        row,
        images_per_s=math.nan,                     # a process that classifies once has no rate
        quartiles=(math.nan, math.nan),
        rss_mb=max(start.rss_mb for start in starts),
        parts_ms={name: median(start.stages_ms[name] for start in starts) for name in starts[0].stages_ms},
        note=_joined("compiled model cached" if cache else "no cache of compiled models", row.note),
    )


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def conditions(fixtures: Fixtures) -> dict[str, object]:
    """Return the conditions of the run for the report."""
    settings, cards = fixtures.settings, [bundle.card for bundle in fixtures.bundles]
    turns = turns_of(settings)
    fewest, most = (f"{turns[index].count:g}" for index in (0, -1))          # one more at most
    inputs = fewest if fewest == most else f"{fewest} or {most}"
    length = f"{inputs} inputs" if settings.iterations else f"{turns[0].seconds:g} s"
    return {
        "rounds": len(turns),
        "turn": length,
        "data": f"{settings.data}, {len(fixtures.items)} images" if settings.data else "noise",
        "assumed": [f"{card.name}: {text}" for card in cards for text in card.assumed],
        "random_weights": ", ".join(card.name for card in cards if card.name.endswith(".random")),
    }
