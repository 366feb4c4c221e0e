"""Settings files of strangers end in words: YAML and TOML that stand for much, or for nothing that can be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.config import MAX_CHARACTERS, as_toml, read_toml, read_yaml, toml_text, toml_value
from wideresnet.errors import ConfigError

YAML = {
    "an alias": ("a: &a [x, x]\nb: [*a, *a]\n", "it has an alias"),
    "depth": ("- " * 4000 + "a", "recursion"),
    "brackets": ("[" * 3000, "500 brackets"),
    "a long number": ("a: " + "9" * 5000, "4300 digits"),
    "a long hexadecimal number": ("a: 0x" + "f" * 9000, "4300 digits"),
    "a month 13": ("a: 2024-13-45", "month"),
    "length": ("#" * (MAX_CHARACTERS + 1), "characters"),
    "bytes": (b"\xff", "utf-8"),
    "a key twice": ("a: 1\nb: {c: 1, d: 2, c: 3}\n", "the key 'c' twice"),
    "a zero byte": ('a: "b\\0c"', "zero byte"),
}


@pytest.mark.parametrize("name", YAML)
def test_yaml_that_is_refused(tmp_path: Path, name: str) -> None:
    text, message = YAML[name]
    (tmp_path / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=rf"x\.yaml is not YAML: .*{message}"):
        read_yaml(tmp_path / "x.yaml")


def test_yaml_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [1, {b: 2}]\nc: &name 2024-01-01\n")
    assert read_yaml(tmp_path / "x.yaml")["a"] == [1, {"b": 2}]


LONG_KEY = ".".join("a" * 9000)


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 400, "a = 0x" + "f" * 5000, f"{LONG_KEY} = 1"])
def test_toml_that_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.toml is not TOML"):
        read_toml(tmp_path / "x.toml", "recipe")


def test_a_value_of_too_many_digits_is_text() -> None:
    assert toml_value("9" * 5000) == "9" * 5000


def test_several_keys_are_no_value() -> None:
    assert toml_value("[1,\n 2]") == [1, 2]
    with pytest.raises(ConfigError, match=r"a setting has one value, got '1\\nb = 2'"):
        toml_value("1\nb = 2")


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    values = {"a": "\U0001f600\x7f\n\\", "b": [1, 0.5, True]}
    (tmp_path / "x.toml").write_text(as_toml(values | {"path": Path("x y")}), "utf-8")
    assert read_toml(tmp_path / "x.toml", "recipe") == values | {"path": "x y"}
    for value in (object(), "caf\udce9", {1}):
        with pytest.raises(ConfigError, match="teacher cannot be "):
            toml_text("teacher", value)
