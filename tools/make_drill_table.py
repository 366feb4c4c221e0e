"""Write the tables of docs/scale.md from the newest benchmarks/results/drills/DATE-….json of each kind.

``python tools/make_drill_table.py`` writes; a test compares, so that no figure is ever copied by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "scale.md", ROOT / "benchmarks" / "results" / "drills"
BEGIN, END = "<!-- drills: written by 'make docs' -->", "<!-- /drills -->"
Facts = dict[str, Any]


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """What docs/scale.md should hold."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    parts = []
    for kind, words in KINDS.items():
        for file in sorted(RESULTS.glob(f"*-{kind}.json"))[-1:]:
            parts += table(file.name, json.loads(file.read_text("utf-8")), words)
    return "\n\n".join([before + BEGIN, *parts, END + rest.partition(END)[2]])


def table(file: str, document: Facts, words: Callable[[Facts], str]) -> list[str]:
    """The conditions, and a row a drill."""
    machine, drills = document["machine"], document["drills"]
    found = drills if isinstance(drills, list) else list(drills.values())
    rows = [f"| {each.get('what') or each['drill']} | {words(each)} |" for each in found]
    where = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['date'][:10]}, load {machine['load1']:.0f} before"
    return [
        f"`python benchmarks/drills/{file.rpartition('-')[2].removesuffix('.json')}.py`, {where};"
        f" [{file}](../benchmarks/results/drills/{file})",
        "\n".join(["| drill | what happened |", "|---|---|", *rows]),
    ]


def of_bulk(facts: Facts) -> str:
    """A drill of bulk work."""
    if "1_workers" in facts:
        rates = (f"{n} {facts[f'{n}_workers']['steady']}" for n in (1, 2, 4))
        return f"images/s by workers: {', '.join(rates)}; without a cluster {facts['without_cluster']}"
    report = facts["report"] or {}
    parts = [f"{facts['pictures']} images: lost {facts['lost']}, doubled {facts['doubled']}"]
    parts.append("the others equal to one machine's" if facts.get("failed") else "all equal to one machine's")
    if not facts["equal_to_local"]:
        parts[-1] = "**not** equal to one machine's"
    parts += [f"{name}: “{error}”" for name, error in facts.get("failed", [])]
    if facts.get("requests_refused"):
        parts.append(f"{facts['requests_refused']} requests refused")
    if report.get("again"):
        parts.append(f"{report['again']} shard{'s' * (report['again'] > 1)} begun again")
    if report.get("kept"):
        parts.append(f"{report['kept']} shards were kept")
    if report.get("avoided"):
        parts.append("the node was left out")
    if "seconds_from_cut_to_end" in facts:
        parts.append(f"over {facts['seconds_from_cut_to_end']:.0f} s after the cut")
    return "; ".join([*parts, *of_node(facts), f"exit code {facts['exit_code']}"])


def in_seconds(seconds: float | None) -> str:
    """A time that may never have come."""
    return "**never**" if seconds is None else f"{seconds:.0f} s"


def of_node(facts: Facts) -> list[str]:
    """What became of a node whose link was cut."""
    if "node_lived_on" not in facts:
        return []
    return ["the node lived on" if facts["node_lived_on"] else "Ray ended the node"]


def of_training(facts: Facts) -> str:
    """A drill of training."""
    same = "the same bits as undisturbed" if facts["equal"] else "**other** bits than undisturbed"
    codes = [facts["exit_code"]] if "exit_code" in facts else [each["exit_code"] for each in facts["nodes"]]
    parts = [same, f"{facts['tensors_equal']} of {facts['tensors']} tensors equal"]
    if "workers_ended_after_seconds" in facts:
        ended = " and ".join(map(in_seconds, facts["workers_ended_after_seconds"]))
        parts.append(f"the workers ended {ended} after the cut")
        parts.append(f"the commands were given again {' and '.join(map(str, facts['given_again']))} times")
    return "; ".join([*parts, f"exit code {' and '.join(map(str, codes))}"])


def of_serving(facts: Facts) -> str:
    """A drill of the service."""
    failed = ", ".join(f"{count} got {name}" for name, count in facts["failed_for_the_client"].items()) or "none failed"
    parts = [f"{facts['requests']} requests, {facts['answered']} answered, {failed}"]
    parts.append(f"wrong answers: {facts['wrong_answers']}")
    if "head_there_again_after_seconds" in facts:
        parts.append(f"what it knows was kept in {facts['gcs_storage']}")
    for key, words in SECONDS.items():
        if key in facts:
            parts.append(f"{words} after {in_seconds(facts[key])}")
    if "replicas" in facts:
        parts.append(f"replicas {' → '.join(map(str, facts['replicas']))}")
    return "; ".join([*parts, *of_node(facts), f"longest request {facts['longest_request_seconds']:.0f} s"])


SECONDS = {
    "full_strength_after_seconds": "at full strength",
    "head_there_again_after_seconds": "the head is there again",
    "replica_killed_then_is_replaced_after_seconds": "a replica that was killed then was replaced",
    "second_replica_answers_after_seconds": "a second replica answers",
    "back_to_one_after_seconds": "back to one replica, when the load was gone,",
}
KINDS: dict[str, Callable[[Facts], str]] = {
    "bulk": of_bulk, "training": of_training, "serving": of_serving,
    "bulk_hosts": of_bulk, "training_hosts": of_training, "serving_hosts": of_serving,
}  # fmt: skip


if __name__ == "__main__":
    main()
