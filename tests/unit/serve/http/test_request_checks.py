"""Checks before a handler runs, on scopes made by hand."""

from __future__ import annotations

import pytest

from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_checks import check_host


def scope(*hosts: str, version: str = "1.1") -> dict[str, object]:
    return {"http_version": version, "headers": [(b"host", host.encode("latin-1")) for host in hosts]}


@pytest.mark.parametrize(
    "host",
    ["a", "a:80", "a:", "", "127.0.0.1:8000", "[::1]:8000", "[fe80::1%25eth0]", "my_host.example", "a%2Db"],
)
def test_a_host_of_the_grammar_passes(host: str) -> None:
    """Names, addresses and ports as RFC 3986 writes them are taken as they are."""
    check_host(scope(host))


@pytest.mark.parametrize("host", ["a b", "a/b", "user@a", "a:b", "a:80:80", "[::1", "::1", "m\xfcnchen", "a\t", "<a>"])
def test_what_is_no_host_is_refused(host: str) -> None:
    """Anything else is a 400 that shows what was sent."""
    with pytest.raises(ApiError, match="invalid Host header") as caught:
        check_host(scope(host))
    assert caught.value.kind == "request"
    assert caught.value.hint


def test_one_host_is_needed_since_http_1_1() -> None:
    """None and two are refused; HTTP/1.0 and HTTP/2 may have none, but not two."""
    for wrong in (scope(), scope("a", "a"), scope("a", "b", version="1.0")):
        with pytest.raises(ApiError, match="Host header"):
            check_host(wrong)
    check_host(scope(version="1.0"))
    check_host(scope(version="2"))
