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
