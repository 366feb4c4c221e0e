"""A finished file says whether an image failed, in every format that holds failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.output.answers import COLUMNS, TEXT_FORMATS, any_failed
from wideresnet.output.resumable_writer import open_resumable
from wideresnet.records import Failure, LabelScore, Prediction

GOOD = Prediction('error, "error".png', (LabelScore(3, "error\nlabel", 0.75), LabelScore(5, "dog", 0.25)))
BAD = Failure("caf\udce9.png", "cut short")


@pytest.fixture(params=[*TEXT_FORMATS, "parquet"])
def format(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return request.param


def written(file: Path, format: str, answers: list[Prediction | Failure]) -> Path:
    with open_resumable(file, format, {}) as writer:
        for answer in answers:
            writer.add(answer)
    return file


@pytest.mark.parametrize("answers", [[], [GOOD], [GOOD, GOOD], [GOOD, BAD], [BAD, GOOD], [BAD]])
def test_whether_a_image_failed(tmp_path: Path, format: str, answers: list[Prediction | Failure]) -> None:
    expected = BAD in answers and format not in ("table", "zoo")
    assert any_failed(written(tmp_path / "answers", format, answers), format, COLUMNS) is expected


def test_another_format_is_an_error_in_words(tmp_path: Path, format: str) -> None:
    if format in ("table", "zoo"):
        return
    (tmp_path / "answers").write_text("something else\n")
    with pytest.raises(ConfigError, match="exists and is not a") as caught:
        any_failed(tmp_path / "answers", format, COLUMNS)
    assert "--resume" in caught.value.hint
