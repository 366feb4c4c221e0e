"""What docs/operations.md and docs/serve.md lean on: settings, metrics and measured tables are those of the code."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
import yaml

pytest.importorskip("prometheus_client", reason="needs the extra serve")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
METRIC = re.compile(r"\b(?:wrn|process)_[a-z_]+\b")


def tool(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / name))


def metrics() -> set[str]:
    """Every name of the /metrics of a fresh service with workers, also of what has no value yet."""
    from wideresnet.serve.admission import AdmissionController
    from wideresnet.serve.metrics import Metrics, ShadowMetrics, UncertaintyMetrics
    from wideresnet.serve.settings import ServeSettings
    from wideresnet.serve.shadow import Shadow
    from wideresnet.serve.worker_metrics import render_sum

    service = Metrics(AdmissionController(1, 1))
    UncertaintyMetrics(service._registry)          # those of calibrated models
    settings = ServeSettings(shadow="a=b")
    service.add(ShadowMetrics(Shadow(settings, AdmissionController(1, 1), print)))
    with TemporaryDirectory() as folder:
        page = render_sum(service, Path(folder)).decode()
    names = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
    return names | {f"{name}{part}" for name in names for part in ("_bucket", "_sum", "_count")}


def test_every_metric_of_the_dashboard_exists() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [each["query"] for each in dashboard["templating"]["list"]]
    used = {name for query in queries for name in METRIC.findall(query)}
    assert used <= metrics()
    parts = re.compile("_(?:bucket|sum|count|created)$")
    assert {name for name in metrics() if name.startswith("wrn_") and not parts.search(name)} <= {
        parts.sub("", name) for name in used
    }, "a metric is missing on the dashboard"


def test_every_metric_of_the_page_exists_and_its_files_are_yaml() -> None:
    text = (DOCS / "operations.md").read_text("utf-8")
    used = {name for name in METRIC.findall(text) if name.startswith("wrn_")}
    assert used >= {"wrn_failures_total", "wrn_queue_depth"}
    assert used <= metrics()
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        assert isinstance(yaml.safe_load(block), dict)


def test_the_schema_of_the_settings_is_what_the_command_takes() -> None:
    published = json.loads((DOCS / "serve.schema.json").read_text("utf-8"))
    assert published == json.loads(tool("make_schema.py")["serve_page"]()), "run 'make docs'"
    from wideresnet.cli.main import app

    options = {each.name for each in typer.main.get_command(app).commands["serve"].params}
    assert published["properties"].keys() == options - {"config", "help"}


def test_the_tables_of_the_service_are_what_the_newest_results_say() -> None:
    assert tool("make_load_table.py")["page"]() == (DOCS / "serve.md").read_text("utf-8"), "run 'make docs'"


def test_turns_become_rows_with_the_worse_p99() -> None:
    turn = {"server": "a", "clients": 8, "images_per_s": 30.0, "p50_ms": 10.0, "p99_ms": 20.0, "errors": 0}
    turn["refused"] = 1
    turns = [turn, {**turn, "images_per_s": 20.0, "p99_ms": 31.0}, {"server": "b", "images_per_s": 40.0}]
    load = tool("make_load_table.py")
    assert load["load_rows"](turns) == [("a", "8", "25.0", "10", "31", "2"), ("b", "", "40.0", "", "", "")]
    result = {"clients": 9, "seconds": 2.0, "codes": {"200": 10, "429": 40, "500": 1}, "p50_ms": 1.0, "p99_ms": 2.0}
    assert load["overload_row"]({**result, "errors": 1}) == ("9", "5.0", "20", "1", "2", "2")
