"""Write the tables of docs/scale.md from the newest benchmarks/results/drills/DATE-….json of each kind.

``python tools/make_drill_table.py`` writes; a test compares, so that no figure is copied by hand.
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
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """Return the content of docs/scale.md."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    blocks = []
    for kind, summary in KINDS.items():
        for file in sorted(RESULTS.glob(f"*-{kind}.json"))[-1:]:
            blocks += table(file.name, json.loads(file.read_text("utf-8")), summary)
    return "\n\n".join([before + BEGIN, *blocks, END + rest.partition(END)[2]])


def table(file: str, document: Facts, summary: Callable[[Facts], str]) -> list[str]:
    """Return the conditions of the drills, and a table with one row per drill."""
    machine, drills = document["machine"], document["drills"]
    drills = drills if isinstance(drills, list) else list(drills.values())
    rows = [f"| {title(drill.get('what') or drill['drill'])} | {summary(drill)} |" for drill in drills]
    conditions = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['date'][:10]}, load {machine['load1']:.0f} before"
    return [
        f"`python benchmarks/drills/{file.rpartition('-')[2].removesuffix('.json')}.py`, {conditions};"
        f" [{file}](../benchmarks/results/drills/{file})",
        "\n".join(["| drill | result |", "|---|---|", *rows]),
    ]


def title(description: str) -> str:
    """Return the description of a drill, in today's words for the results of 2026-11-24."""
    return TITLES.get(description, description)


def of_bulk(facts: Facts) -> str:
    """Summarise a drill of bulk work."""
    if "1_workers" in facts:
        rates = (f"{n} {facts[f'{n}_workers']['steady']}" for n in (1, 2, 4))
        return f"images/s by workers: {', '.join(rates)}; without a cluster {facts['without_cluster']}"
    report = facts["report"] or {}
    parts = [f"{facts['pictures']} images: lost {facts['lost']}, duplicated {facts['doubled']}"]
    if facts["equal_to_local"]:
        parts.append(f"all {'other ' if facts.get('failed') else ''}results equal to one machine's")
    else:
        parts.append("results **not** equal to one machine's")
    parts += [f"{name}: “{error}”" for name, error in facts.get("failed", [])]
    if facts.get("requests_refused"):
        parts.append(f"{facts['requests_refused']} requests refused")
    if report.get("again"):
        parts.append(f"{report['again']} shard{'s' * (report['again'] > 1)} retried")
    if report.get("kept"):
        parts.append(f"{report['kept']} shards reused")
    if report.get("avoided"):
        parts.append("the node was excluded")
    if "seconds_from_cut_to_end" in facts:
        parts.append(f"finished {facts['seconds_from_cut_to_end']:.0f} s after the cut")
    return "; ".join([*parts, *of_node(facts), f"exit code {facts['exit_code']}"])


def in_seconds(seconds: float | None) -> str:
    """Return the time of an event, or that it did not occur."""
    return "**never**" if seconds is None else f"{seconds:.0f} s"


def of_node(facts: Facts) -> list[str]:
    """Return the state of a node whose link was cut."""
    if "node_lived_on" not in facts:
        return []
    return ["the node survived" if facts["node_lived_on"] else "Ray terminated the node"]


def of_training(facts: Facts) -> str:
    """Summarise a drill of training."""
    outcome = f"{'' if facts['equal'] else '**not** '}bit-identical to the undisturbed run"
    codes = [facts["exit_code"]] if "exit_code" in facts else [node["exit_code"] for node in facts["nodes"]]
    parts = [outcome, f"{facts['tensors_equal']} of {facts['tensors']} tensors equal"]
    if "workers_ended_after_seconds" in facts:
        ended = " and ".join(map(in_seconds, facts["workers_ended_after_seconds"]))
        parts.append(f"the workers exited {ended} after the cut")
        parts.append(f"the commands were restarted {' and '.join(map(str, facts['given_again']))} times")
    return "; ".join([*parts, f"exit code {' and '.join(map(str, codes))}"])


def of_serving(facts: Facts) -> str:
    """Summarise a drill of the service."""
    failed = ", ".join(f"{count} got {name}" for name, count in facts["failed_for_the_client"].items()) or "none failed"
    parts = [f"{facts['requests']} requests, {facts['answered']} answered, {failed}"]
    parts.append(f"wrong answers: {facts['wrong_answers']}")
    if "head_there_again_after_seconds" in facts:
        parts.append(f"cluster state kept in {facts['gcs_storage']}")
    for key, event in SECONDS.items():
        if key in facts:
            parts.append(f"{event} after {in_seconds(facts[key])}")
    if "replicas" in facts:
        parts.append(f"replicas {' → '.join(map(str, facts['replicas']))}")
    return "; ".join([*parts, *of_node(facts), f"longest request {facts['longest_request_seconds']:.0f} s"])


SECONDS = {
    "full_strength_after_seconds": "all replicas available",
    "head_there_again_after_seconds": "the head is available again",
    "replica_killed_then_is_replaced_after_seconds": "a replica killed afterwards was replaced",
    "second_replica_answers_after_seconds": "a second replica answers",
    "back_to_one_after_seconds": "scaled back to one replica, without load,",
}
TITLES = {
    "A node is killed (SIGKILL) when a quarter of the shards is written.":
        "One node is killed (SIGKILL) after a quarter of the shards.",
    "The command itself is killed (SIGKILL), and given again.":
        "The command itself is killed (SIGKILL) and restarted.",
    "One picture ends every process that decodes it: simulated by a decoder that aborts at its last bytes.":
        "One image crashes every process that decodes it; simulated by a decoder that aborts on its last bytes.",
    "A node whose disk is full where it should write: simulated by a full tmpfs in a mount namespace of its own.":
        "The output disk of one node is full; simulated by a full tmpfs in its own mount namespace.",
    "Pictures and answers are in an S3 store (moto) that refuses everything for 20 seconds amid the run.":
        "Images and results are in an S3 store (moto) that rejects all requests for 20 seconds during the run.",
    "The head node is killed (SIGKILL) amid the run; a new cluster is begun, and the command given again.":
        "The head node is killed (SIGKILL) during the run; a new cluster is started and the command repeated.",
    "No failure: images a second with 1, 2 and 4 workers of one CPU each, after the start of the last one.":
        "No failure: images/s with 1, 2 and 4 workers of one CPU each, measured after the start of the last one.",
    "wrn evaluate, and nothing is disturbed.":
        "wrn evaluate without a failure.",
    "wrn embed, and nothing is disturbed.":
        "wrn embed without a failure.",
    "The link of a host is cut for 20 seconds amid the run; pictures and answers are in a store of another host.":
        "The network link of a host is cut for 20 seconds during the run; the store is on another host.",
    "The link of a host is cut amid the run, and mended after its end.":
        "The network link of a host is cut during the run and restored after its end.",
    "One of two nodes is killed; the other has room for the replicas of both.":
        "One of two nodes is killed; the other one has CPUs for the replicas of both.",
    "The head is killed and begun again with the same command; then a replica is, to see who replaces it.":
        "The head is killed and restarted with the same command; then a replica is killed, which has to be replaced.",
    "The link of one of two nodes is cut, and mended when the other has the replicas of both.":
        "The network link of one of two nodes is cut, and restored when the other one runs the replicas of both.",
    "The link of one of two nodes is cut for ten seconds.":
        "The network link of one of two nodes is cut for ten seconds.",
    "--replicas 1:2: eight clients ask without a pause, and later a picture every ten seconds each.":
        "--replicas 1:2: eight clients in a closed loop, later one request every ten seconds from each.",
    "The worker of rank 1 is killed; torchrun begins both again.":
        "The worker of rank 1 is killed; torchrun restarts both.",
    "The worker of rank 0, which writes the checkpoints, is killed; torchrun begins both again.":
        "The worker of rank 0, which writes the checkpoints, is killed; torchrun restarts both.",
    "torchrun and all workers are killed, as when a machine goes down; the same command is given again.":
        "torchrun and all workers are killed, as in a machine failure; the same command is repeated.",
    "Two nodes of one worker each, without a common disk; the one of rank 1 is killed and started anew.":
        "Two nodes with one worker each and no shared disk; the node of rank 1 is killed and restarted.",
    "The link of one host is cut amid an epoch until both workers have ended, and mended; a torchrun that ends with an"
    " error is given again.":
        "The network link of one host is cut during an epoch until both workers have exited; a torchrun that ended with"
        " an error is repeated.",
    "Nothing is disturbed: two hosts instead of one.":
        "No failure: two hosts instead of one.",
    "The link of one host is cut for ten seconds amid an epoch.":
        "The network link of one host is cut for ten seconds during an epoch.",
}  # fmt: skip
KINDS: dict[str, Callable[[Facts], str]] = {
    "bulk": of_bulk, "training": of_training, "serving": of_serving,
    "bulk_hosts": of_bulk, "training_hosts": of_training, "serving_hosts": of_serving,
}  # fmt: skip


if __name__ == "__main__":
    main()
