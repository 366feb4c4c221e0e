"""Admission: what is inside is counted, and given back whatever becomes of a request."""

from __future__ import annotations

import pytest

from wideresnet.serve.admission import AdmissionController, Visit
from wideresnet.serve.http.errors import ApiError


def test_a_visit_gives_back_its_bytes_when_its_handler_and_its_threads_are_done() -> None:
    house = AdmissionController(images=4, held_bytes=100)
    visit = Visit(house, "a")
    visit.enter()
    visit.carry(60)
    visit.seat(2)
    visit.unseat(1)
    visit.leave()
    assert (house.requests, house.images, house.bytes) == (0, 1, 60)
    visit.unseat(1)
    assert (house.requests, house.images, house.bytes) == (0, 0, 0)
    visit.leave()
    assert (house.requests, house.bytes) == (0, 0)


def test_a_full_house_lets_nobody_in() -> None:
    house = AdmissionController(images=2, held_bytes=100)
    first, second = Visit(house, "a"), Visit(house, "b")
    first.enter()
    second.enter()
    first.carry(80)
    with pytest.raises(ApiError, match="too many bytes"):
        second.carry(21)
    first.seat(2)
    with pytest.raises(ApiError, match="2 images are inside and 2 fit"):
        Visit(house, "c").enter()
    with pytest.raises(ApiError):
        second.refuse_when_full(1)
    second.leave()
    assert (house.requests, house.bytes) == (1, 80)


def test_nobody_enters_while_it_drains() -> None:
    house = AdmissionController(images=2, held_bytes=100)
    house.draining = True
    with pytest.raises(ApiError) as caught:
        Visit(house, "a").enter()
    assert caught.value.kind == "draining"
    assert house.requests == 0
