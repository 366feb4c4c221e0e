"""The parts of the documentation site that are made from code and from pages outside ``docs``."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import yaml

import wideresnet

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "site_parts.py"))


def fill(text: str, document: str = "guides/page") -> str:
    """The text that Sphinx gets for a page of the site."""
    filled: str = TOOL["fill"](document, text)
    return filled


def test_every_route_of_the_service_is_in_the_reference() -> None:
    page = fill("<!-- site: routes -->")
    document = yaml.safe_load((ROOT / "src/wideresnet/serve/http/openapi.yaml").read_text("utf-8"))
    heads = {f"### {method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert heads <= set(page.splitlines())


def test_the_fields_of_an_answer_are_listed_with_their_paths() -> None:
    page = fill("<!-- site: routes -->")
    assert "| `results[].predictions[].probability` | number, 0 to 1 |  |" in page


def test_every_key_of_the_settings_is_in_the_reference() -> None:
    page = fill("<!-- site: settings docs/serve.schema.json -->")
    keys = json.loads((ROOT / "docs/serve.schema.json").read_text("utf-8"))["properties"]
    assert [line.split("`")[1] for line in page.splitlines()[2:]] == list(keys)
    assert "| `port` | integer, 0 to 65535 | `8000` |" in page


def test_every_public_name_is_in_the_reference() -> None:
    page = fill("<!-- site: names -->")
    assert {name for name in wideresnet.__all__ if f"## {name}\n" not in page} == set()
    assert ".. autofunction:: wideresnet.load\n" in page
    assert ".. autoclass:: wideresnet.Classifier\n   :members:" in page


@pytest.mark.parametrize(
    ("link", "on_the_site"),
    [
        ("[a](../serve.md#routes)", "[a](../serve.md#routes)"),
        ("[a](../../ARCHITECTURE.md)", "[a](../explanation/architecture.md)"),
        ("[a](../../tests/)"  , "a"),                        # a folder has no page
        ("[a](../../examples/client.py)", "[a](../../examples/client.py)"),
        ("[a](https://arxiv.org/abs/1605.07146)", "[a](https://arxiv.org/abs/1605.07146)"),
        ("![a](../images/a.png)", "![a](../images/a.png)"),
    ],
)
def test_links_to_pages_of_the_repository_lead_to_pages_of_the_site(link: str, on_the_site: str) -> None:
    assert fill(link) == on_the_site


def test_a_page_of_the_repository_is_shown_with_links_that_hold_on_the_site() -> None:
    page = fill("<!-- site: include ARCHITECTURE.md -->", "explanation/architecture")
    assert "[docs/decisions](../decisions/README.md)" in page
    assert "(contributing.md#tests)" in page


def test_a_notebook_is_shown_with_its_outputs() -> None:
    stream = {"output_type": "stream", "name": "stdout", "text": ["cat\n", "dog\n"]}
    result = {"output_type": "execute_result", "data": {"text/plain": ["2"], "text/html": ["<b>2</b>"]}}
    cell = {"cell_type": "code", "source": ["f(1)\n", "2"], "outputs": [stream, result]}
    shown = "\n\n".join(TOOL["cell_parts"](cell))
    assert shown == (
        "```python\nf(1)\n2\n```\n\n```text\ncat\ndog\n```\n\n```{raw} html\n<b>2</b>\n```"
    )
