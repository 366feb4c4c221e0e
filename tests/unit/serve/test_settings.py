"""Settings are validated once."""

from __future__ import annotations

import pytest

from wideresnet.errors import ConfigError
from wideresnet.machine import available_cpus
from wideresnet.serve.settings import make_settings, read_token


def test_unknown_and_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="no setting called 'prot'") as caught:
        make_settings({"prot": 1})
    assert "port" in caught.value.hint
    with pytest.raises(ConfigError, match="deadline"):
        make_settings({"deadline": 0})
    with pytest.raises(ConfigError, match="no model"):
        make_settings({"models": ()})


@pytest.mark.parametrize("name", ["poll", "image_seconds", "deadline", "upload_deadline", "drain"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_times_are_finite(name: str, value: object) -> None:
    """JSON has no Infinity: /openapi.json would be invalid."""
    with pytest.raises(ConfigError, match=f"wrn serve: {name}: .*finite number, got {value}"):
        make_settings({name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cors": ("foo",)}, "cors.0: .*got 'foo'"),
        ({"cors": ("https://a.example/",)}, "cors.0"),
        ({"cors": ("https://a.example/b",)}, "cors.0"),
        ({"allow_host": ("a:80",)}, "allow_host.0: .*got 'a:80'"),
        ({"allow_host": ("https://a",)}, "allow_host.0"),
        ({"allow_host": ("",)}, "allow_host.0"),
    ],
)
def test_origins_and_hosts_that_no_request_has_are_refused(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(values)


def test_origins_and_hosts_are_compared_in_lower_case() -> None:
    settings = make_settings({"cors": ("HTTPS://A.example:8", "*"), "allow_host": ("A.example", "[::1]", "127.0.0.1")})
    assert settings.cors == ("https://a.example:8", "*")
    assert settings.allow_host == ("a.example", "[::1]", "127.0.0.1")


def test_a_request_is_never_larger_than_the_queue() -> None:
    settings = make_settings({"queue": 5})
    assert (settings.capacity, settings.images_per_request) == (5, 5)
    assert make_settings({}).capacity == max(64, 16 * available_cpus())


def test_a_token_is_read_from_its_file_and_not_shown(tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text(" sesame\n")
    settings = make_settings({"token": read_token(file)})
    assert settings.token.get_secret_value() == "sesame"
    assert "sesame" not in repr(settings)
    file.write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        read_token(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_token(tmp_path / "none")
