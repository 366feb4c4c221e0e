"""The tables of docs/scale.md agree with the newest drills and show failures."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "make_drill_table.py"))

BULK: dict[str, Any] = {
    "pictures": 10, "lost": 0, "doubled": 0, "equal_to_local": True, "exit_code": 0,
    "report": {"again": 1, "kept": 0, "avoided": {}},
}  # fmt: skip


def test_the_tables_are_what_the_newest_drills_found() -> None:
    assert TOOL["page"]() == (ROOT / "docs" / "scale.md").read_text("utf-8"), "run 'make docs'"


def test_a_bulk_drill_says_what_is_lost_and_what_differs() -> None:
    assert TOOL["of_bulk"](BULK) == (
        "10 images: lost 0, duplicated 0; all results equal to one machine's; 1 shard retried; exit code 0"
    )
    worse = {**BULK, "lost": 3, "equal_to_local": False, "exit_code": 2, "report": None}
    assert TOOL["of_bulk"](worse) == (
        "10 images: lost 3, duplicated 0; results **not** equal to one machine's; exit code 2"
    )


def test_a_bulk_drill_says_what_a_cut_link_did() -> None:
    facts = {**BULK, "seconds_from_cut_to_end": 41.2, "node_lived_on": False}
    assert TOOL["of_bulk"](facts).endswith("finished 41 s after the cut; Ray terminated the node; exit code 0")


def test_a_training_drill_says_when_a_cut_link_was_noticed() -> None:
    facts = {
        "equal": True, "tensors": 9, "tensors_equal": 9, "nodes": [{"exit_code": 0}, {"exit_code": 0}],
        "workers_ended_after_seconds": [90.3, None], "given_again": [1, 2],
    }  # fmt: skip
    assert TOOL["of_training"](facts) == (
        "bit-identical to the undisturbed run; 9 of 9 tensors equal; the workers exited 90 s and **never** after"
        " the cut; the commands were restarted 1 and 2 times; exit code 0 and 0"
    )


def test_a_training_drill_says_whether_the_bits_are_the_same() -> None:
    facts = {"equal": False, "tensors": 9, "tensors_equal": 8, "exit_code": 1}
    assert TOOL["of_training"](facts) == (
        "**not** bit-identical to the undisturbed run; 8 of 9 tensors equal; exit code 1"
    )


def test_a_serving_drill_says_what_clients_saw() -> None:
    facts = {
        "requests": 9, "answered": 7, "failed_for_the_client": {"500 Internal Server Error": 2}, "wrong_answers": 0,
        "full_strength_after_seconds": 15.9, "longest_request_seconds": 2.2,
    }  # fmt: skip
    assert TOOL["of_serving"](facts) == (
        "9 requests, 7 answered, 2 got 500 Internal Server Error; wrong answers: 0; all replicas available after 16 s;"
        " longest request 2 s"
    )
    more = {**facts, "replicas": [1, 2, 1], "node_lived_on": True}
    assert TOOL["of_serving"](more).endswith("; replicas 1 → 2 → 1; the node survived; longest request 2 s")
