"""The sum of the metrics of several workers."""

from __future__ import annotations

import re
from pathlib import Path

from wideresnet.serve.admission import AdmissionController, RequestContext
from wideresnet.serve.metrics import Metrics
from wideresnet.serve.worker_metrics import count_workers, keep_counts, render_sum, write_metrics


def filled(requests: int, images: int) -> Metrics:
    admission = AdmissionController(8, 100)
    admission.images = images
    metrics = Metrics(admission)
    for _ in range(requests):
        context = RequestContext("a")
        context.route = "/v1/classify"
        metrics.count_response(context, 200)
    metrics.set_problems(["m"], ["m"] if requests > 3 else [])
    return metrics


def value(text: str, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found)


def test_counts_are_added_and_states_are_the_worst(tmp_path: Path) -> None:
    """Of a worker that has ended only what is counted remains; this process's own figures are those of now."""
    own, other, ended = filled(2, 1), filled(5, 3), filled(7, 8)
    (tmp_path / "1.live").write_bytes(other.render())
    (tmp_path / "2.ended").write_bytes(ended.render())
    (tmp_path / "3.ended").touch()                 # before it wrote any
    (tmp_path / "4.part").write_text("half")
    text = render_sum(own, tmp_path).decode()
    key = 'wrn_requests_total{model="",route="/v1/classify",status="200"}'
    assert value(text, key) == 2 + 5 + 7
    assert value(text, 'wrn_request_seconds_count{route="/v1/classify"}') == 14
    assert value(text, 'wrn_request_seconds_bucket{le="+Inf",route="/v1/classify"}') == 14
    assert value(text, "wrn_queue_depth") == 1 + 3
    assert value(text, "wrn_queue_capacity") == 16
    assert value(text, 'wrn_model_outdated{model="m"}') == 1
    assert value(text, "wrn_worker_restarts_total") == 2
    assert text.count("# TYPE wrn_requests_total counter") == 1
    assert count_workers(tmp_path) == 2
    again = render_sum(own, tmp_path).decode()
    assert value(again, key) == 14


def test_a_worker_without_a_folder_writes_nothing(tmp_path: Path) -> None:
    write_metrics(filled(1, 0), tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_no_count_is_lost_when_a_later_worker_gets_the_same_pid(tmp_path: Path) -> None:
    for requests in (2, 3):
        (tmp_path / "7.live").write_bytes(filled(requests, 0).render())
        keep_counts(7, tmp_path)
    keep_counts(8, tmp_path)                       # it ended before it wrote any
    text = render_sum(filled(1, 0), tmp_path).decode()
    assert value(text, 'wrn_requests_total{model="",route="/v1/classify",status="200"}') == 2 + 3 + 1
    assert value(text, "wrn_worker_restarts_total") == 3
    keep_counts(9, tmp_path / "gone")
