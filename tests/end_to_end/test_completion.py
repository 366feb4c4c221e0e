"""Names completed with the Tab key, in a process as the shell starts it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from wideresnet.cli.main import run
try:
    run()
finally:
    heavy = {"openvino", "onnx", "torch", "onnxruntime"} & set(sys.modules)
    assert not heavy, heavy
"""


def completed(words: str) -> list[str]:
    """What bash offers for the last of ``words``."""
    environment = {
        **os.environ, "_WRN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1),
    }  # fmt: skip
    program = f"import sys; sys.argv = ['wrn']\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("wrn classify -m wide_resnet50_2.tv2", "wide_resnet50_2.tv2_in1k"),
        ("wrn evaluate x --model wrn_16", "wrn_16_4.cifar10"),
        ("wrn finetune --from wide_resnet101_2.tv", "wide_resnet101_2.tv_in1k"),
        ("wrn compare wrn_16_4.cifar10 wide_resnet50_2.tv_", "wide_resnet50_2.tv_in1k"),
        ("wrn serve -m fast=wrn_16", "fast=wrn_16_4.cifar10"),
        ("wrn info wrn_16", "wrn_16_4.cifar10"),
        ("wrn bench -m wrn_16", "wrn_16_4.cifar10"),
        ("wrn train wrn-16-4", "wrn-16-4-cifar10-short"),
        ("wrn classify --engine open", "openvino"),
    ],
)
def test_names_are_completed_without_opening_a_runtime(words: str, name: str) -> None:
    assert name in completed(words)


def test_a_path_is_left_to_the_shell() -> None:
    assert not any(completed("wrn classify -m ./wrn"))
