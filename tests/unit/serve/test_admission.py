"""Admission: requests, images and bytes are counted, and returned however a request ends."""

from __future__ import annotations

import pytest

from wideresnet.serve.admission import AdmissionController, RequestContext
from wideresnet.serve.http.errors import ApiError


def counts(controller: AdmissionController) -> tuple[int, int, int]:
    return controller.requests, controller.images, controller.bytes


def test_bytes_are_returned_when_the_handler_and_all_threads_are_done() -> None:
    controller = AdmissionController(images=4, held_bytes=100)
    with controller.admit(RequestContext("a")) as permit:
        permit.add_bytes(60)
        permit.acquire(2)
        permit.release(1)
        assert counts(controller) == (1, 1, 60)
        assert not permit.context.cancelled
    assert counts(controller) == (0, 1, 60)
    assert permit.context.cancelled
    permit.release(1)
    assert counts(controller) == (0, 0, 0)


def test_everything_is_returned_when_a_handler_raises() -> None:
    controller = AdmissionController(images=4, held_bytes=100)

    def handle() -> None:
        with controller.admit(RequestContext("a")) as permit:
            permit.add_bytes(60)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        handle()
    assert counts(controller) == (0, 0, 0)


def test_a_full_queue_admits_no_request() -> None:
    controller = AdmissionController(images=2, held_bytes=100)
    with controller.admit(RequestContext("a")) as first:
        with controller.admit(RequestContext("b")) as second:
            first.add_bytes(80)
            with pytest.raises(ApiError, match="limit on bytes"):
                second.add_bytes(21)
            first.acquire(2)
            with pytest.raises(ApiError, match=r"the queue is full \(2 of 2 images\)"):
                controller.admit(RequestContext("c"))
            with pytest.raises(ApiError, match="the queue is full"):
                second.acquire(1)
        assert counts(controller) == (1, 2, 80)
        first.release(2)


def test_no_request_is_admitted_while_the_server_drains() -> None:
    controller = AdmissionController(images=2, held_bytes=100)
    controller.draining = True
    with pytest.raises(ApiError) as caught:
        controller.admit(RequestContext("a"))
    assert caught.value.kind == "draining"
    assert controller.requests == 0
