"""Checks of requests before their handlers run."""

from __future__ import annotations

import pytest

from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_checks import check_host, parse_number


def scope(*hosts: str, version: str = "1.1") -> dict[str, object]:
    return {"http_version": version, "headers": [(b"host", host.encode("latin-1")) for host in hosts]}


@pytest.mark.parametrize(
    "host",
    ["a", "a:80", "a:", "", "127.0.0.1:8000", "[::1]:8000", "[fe80::1%25eth0]", "my_host.example", "a%2Db"],
)
def test_valid_hosts_pass(host: str) -> None:
    """Names, addresses and ports of RFC 3986 are accepted."""
    check_host(scope(host))


@pytest.mark.parametrize("host", ["a b", "a/b", "user@a", "a:b", "a:80:80", "[::1", "::1", "m\xfcnchen", "a\t", "<a>"])
def test_invalid_hosts_are_refused(host: str) -> None:
    """Anything else is a 400 with the invalid value."""
    with pytest.raises(ApiError, match="invalid Host header") as caught:
        check_host(scope(host))
    assert caught.value.kind == "request"
    assert caught.value.hint


def test_http_1_1_needs_exactly_one_host() -> None:
    """None and two are refused; HTTP/1.0 and HTTP/2 may have none, but not two."""
    for wrong in (scope(), scope("a", "a"), scope("a", "b", version="1.0")):
        with pytest.raises(ApiError, match="Host header"):
            check_host(wrong)
    check_host(scope(version="1.0"))
    check_host(scope(version="2"))


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("10", 10)])
def test_numbers_are_ascii_digits(text: str, number: int) -> None:
    assert parse_number(text, 10) == number


@pytest.mark.parametrize("text", ["", "11", "-1", "+1", " 1", "1.0", "1_0", "\u0661", "1e1", "0" * 19, "9" * 5000])
def test_other_texts_are_no_number(text: str) -> None:
    assert parse_number(text, 10) is None
