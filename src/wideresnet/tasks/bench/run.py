"""A whole benchmark: one race, then fresh processes, profiles and tuning; one report."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from wideresnet.architectures import get_architecture
from wideresnet.bundle import Bundle
from wideresnet.engines.throughput import save_tuning
from wideresnet.errors import ConfigError, EngineError
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.records import BenchReport, BenchRow, EngineInfo, Peak, Profile, Progress, Tuning
from wideresnet.tasks.bench.candidates import pixels
from wideresnet.tasks.bench.fixtures import Lab
from wideresnet.tasks.bench.interleave import Summary, Turn, peak_share, summarise, take_turns
from wideresnet.tasks.bench.memory_probe import Start, cold_start, memory_mb
from wideresnet.tasks.bench.options import BenchSettings, Entry, options_of
from wideresnet.tasks.bench.peak import open_gemms
from wideresnet.tasks.bench.profile import profile_layers, profile_stages
from wideresnet.tasks.bench.runner import race, turn_of
from wideresnet.tasks.bench.tune import tune
from wideresnet.tasks.load.load import open_classifier

FEW = 50                                           # images for what needs only some


def bench(bundles: Sequence[Bundle], settings: BenchSettings) -> Generator[Progress, None, BenchReport]:
    """Measure ``bundles`` as ``settings`` says, and return the report.

    What one contestant cannot do (a precision, an extra that is not installed) is in the report. Raises
    WrnError when nothing at all can be measured.
    """
    machine = machine_facts()                      # before anything loads it
    if len({bundle.card.name for bundle in bundles}) < len(bundles):
        raise ConfigError("two of the models have the same name, and rows go by it", hint="measure them one by one")
    with TemporaryDirectory(prefix="wrn-bench-") as name:
        lab = Lab(settings, bundles, Path(name))
        asked = lab.asked()
        running = [entry for entry in asked if entry.what != "startup"]
        peak, rows = Peak(), list[BenchRow]()
        if running:
            peak, rows = yield from _race(lab, running)
        rows += yield from _starts(lab, [entry for entry in asked if entry.what == "startup"])
        profiles = (yield from _profiles(lab, asked)) if settings.profile else []
        tuned: list[Tuning] = []
        for bundle in bundles if settings.tune else ():
            tuned.append((yield from tune(bundle, settings, lab.folder)))
            save_tuning(bundle, tuned[-1])
        return BenchReport(
            machine, _conditions(lab), peak, tuple(rows), tuple(profiles), tuple(tuned), lab.skipped, lab.skipped_files
        )


def _race(lab: Lab, asked: Sequence[Entry]) -> Generator[Progress, None, tuple[Peak, list[BenchRow]]]:
    """Everything that runs in this process, side by side; then the memory of each, in a process of its own."""
    contestants = lab.open(asked)
    gemms = open_gemms(max(threads or available_cpus() for threads in lab.settings.threads))
    results = yield from race(contestants, gemms, lab.settings)
    rows = []
    for index, (each, summary) in enumerate(zip(contestants, results.summaries, strict=True)):
        yield Progress(f"memory of {each.entry.name}", index, len(contestants))
        row = _row(lab, each.entry, each.info, summary, results.peak)
        try:
            rss = memory_mb(each.entry, lab.on_disk(each.entry), lab.paths(FEW))
            rows.append(replace(row, rss_mb=rss))
        except EngineError as error:
            rows.append(replace(row, note=_joined(row.note, error.message)))
    return results.peak, rows


def _starts(lab: Lab, asked: Sequence[Entry]) -> Generator[Progress, None, list[BenchRow]]:
    """Cold starts, without and (OpenVINO) with its folder of compiled models; they take turns too."""
    cache = lab.folder / "compiled"
    runs = [(entry, where) for entry in asked for where in (None, cache) if not where or entry.engine == "openvino"]
    players = [partial(cold_start, entry, lab.on_disk(entry), lab.paths(1), where) for entry, where in runs]
    for index, player in enumerate(players):       # fills the caches: of compiled models, and of the disk
        yield Progress(f"first start of {runs[index][0].name}", index, len(players))
        player()
    _, rounds = turn_of(lab.settings)
    brought: list[list[Start]] = [[] for _ in runs]
    for index, start in take_turns(players, rounds):
        brought[index].append(start)
        yield Progress(runs[index][0].name, sum(map(len, brought)), rounds * len(runs))
    return [_start_row(lab, entry, where, starts) for (entry, where), starts in zip(runs, brought, strict=True)]


def _profiles(lab: Lab, asked: Sequence[Entry]) -> Generator[Progress, None, list[Profile]]:
    """One of each model and precision that ran in OpenVINO."""
    found: dict[tuple[str, str], Profile] = {}
    for entry in asked:
        if entry.engine != "openvino" or (entry.model, entry.precision) in found or entry.name in lab.skipped:
            continue
        yield Progress(f"profile of {entry.model} in {entry.precision}", len(found), len(asked))
        bundle, options = lab.model(entry), options_of(replace(entry, sync=True, streams=0))
        classifier = open_classifier(bundle, "openvino", options)
        found[entry.model, entry.precision] = Profile(
            entry.model,
            classifier.engine.info.precision,
            entry.batch,
            profile_layers(bundle, options, pixels(bundle, lab.items, entry.batch)),
            profile_stages(classifier, lab.items[:FEW], entry.batch) if lab.items else {},
        )
    return list(found.values())


def _row(lab: Lab, entry: Entry, info: EngineInfo, summary: Summary, peak: Peak) -> BenchRow:
    card = lab.model(entry).card
    macs = get_architecture(card.architecture, card.classes).macs(card.preprocess.crop)
    limit = {"f32": peak.f32, "bf16": peak.bf16, "int8": peak.int8}.get(info.precision)
    ways = {
        "latency": "from an image's bytes" if entry.files else "engine alone",
        "engine": "one call after the other" if entry.sync else "",
        "end-to-end": "fast decode" if entry.reduced else "",
    }
    return BenchRow(
        model=entry.model,
        what=entry.what,
        engine=entry.engine,
        precision=info.precision,
        batch=entry.batch,
        streams=info.streams,
        threads=info.threads,
        images_per_s=summary.images_per_s,
        quartiles=summary.quartiles,
        p50_ms=summary.p50_ms,
        p95_ms=summary.p95_ms,
        p99_ms=summary.p99_ms,
        peak_share=peak_share(summary.images_per_s, macs, limit),
        rss_mb=math.nan,
        n=summary.n,
        note=_joined(ways.get(entry.what, ""), lab.note(entry)),
    )


def _start_row(lab: Lab, entry: Entry, cache: Path | None, starts: Sequence[Start]) -> BenchRow:
    turns = [Turn(1, start.whole_ms / 1e3, (start.whole_ms / 1e3,)) for start in starts]
    row = _row(lab, entry, EngineInfo(**starts[0].info), summarise(turns), Peak())
    return replace(
        row,
        images_per_s=math.nan,                     # of a process that answers once and ends
        quartiles=(math.nan, math.nan),
        rss_mb=max(start.rss_mb for start in starts),
        parts_ms={name: median(start.parts_ms[name] for start in starts) for name in starts[0].parts_ms},
        note=_joined("compiled model cached" if cache else "no cache of compiled models", row.note),
    )


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _conditions(lab: Lab) -> dict[str, object]:
    """What was asked, for the report."""
    settings = lab.settings
    allowance, rounds = turn_of(settings)
    length = f"{allowance.count:g} inputs" if settings.iterations else f"{allowance.seconds:g} s"
    return {
        "rounds": rounds,
        "turn": length,
        "data": f"{settings.data}, {len(lab.items)} images" if settings.data else "noise",
        "assumed": [f"{b.card.name}: {assumption}" for b in lab.bundles for assumption in b.card.assumed],
        "random_weights": ", ".join(b.card.name for b in lab.bundles if b.card.name.endswith(".random")),
    }
