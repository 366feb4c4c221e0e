"""Parts of the documentation site that are made from code and from pages outside ``docs``.

``docs/conf.py`` passes every page through ``fill`` when Sphinx reads it. A line ``<!-- site: KIND ARGUMENT -->`` is
replaced by what KIND makes, and links to pages of the repository that the site has lead to them.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

import wideresnet

ROOT = Path(__file__).resolve().parents[1]
FIRST_NAMES = ("load", "Classifier")
Resolve = Callable[[dict[str, Any]], dict[str, Any]]

MARK = re.compile(r"^<!-- site: (\w+) ?(.*?) -->$", re.MULTILINE)

# Pages of the repository that the site shows, and the document that shows them.
PAGES = {
    "ARCHITECTURE.md": "docs/explanation/architecture.md",
    "CHANGELOG.md": "docs/explanation/changelog.md",
    "CONTRIBUTING.md": "docs/explanation/contributing.md",
    "README.md": "docs/index.md",
    "README.zh-CN.md": "docs/index.md",
    "benchmarks/README.md": "docs/explanation/benchmarks.md",
    "examples/notebooks/finetune.ipynb": "docs/tutorials/notebook-finetune.md",
    "examples/notebooks/production.ipynb": "docs/tutorials/notebook-production.md",
    "examples/notebooks/quickstart.ipynb": "docs/tutorials/notebook-quickstart.md",
}
LINK = re.compile(r"(?<!!)\[([^\]\n]*(?:\n[^\]\n]+)?)\]\(([^)\s]+)\)")


def fill(document: str, text: str) -> str:
    """Return the text of ``docs/<document>.md`` with its generated parts, and with links that hold on the site."""
    text = _relink(text, f"docs/{document}.md", document)
    return MARK.sub(lambda mark: KINDS[mark[1]](mark[2], document), text)


def _relink(text: str, source: str, document: str) -> str:
    """Turn links of the page ``source`` into links of a document of the site; of one to a folder only words remain."""

    def relinked(link: re.Match[str]) -> str:
        words, target = link[1], link[2]
        if "://" in target or target.startswith(("#", "mailto:")):
            return link[0]
        path, hash_mark, section = target.partition("#")
        path = os.path.normpath(PurePosixPath(source).parent / path)
        if (ROOT / path).is_dir():
            return words
        path = os.path.relpath(PAGES.get(path, path), PurePosixPath(f"docs/{document}").parent)
        return f"[{words}]({path}{hash_mark}{section})"

    return LINK.sub(relinked, text)


def include(path: str, document: str) -> str:
    """Return a page of the repository."""
    return _relink((ROOT / path).read_text("utf-8"), path, document)


# The Python interface


def names(_: str, __: str) -> str:
    """Return the signature and docstring of every public name of the package."""
    ordered = sorted(wideresnet.__all__, key=lambda name: (name not in FIRST_NAMES, name == "Classifier", name.lower()))
    return "\n".join(_python_name(name) for name in ordered)


def records(listed: str, _: str) -> str:
    """Return the fields of records; those that are public names of the package are left out."""
    rest = [name for name in listed.split() if name not in wideresnet.__all__]
    return "\n".join(_directive("autoclass", f"wideresnet.records.{name}", "members") for name in rest)


def _python_name(name: str) -> str:
    kind = "autoclass" if name[0].isupper() else "autofunction"
    return f"## {name}\n\n" + _directive(kind, f"wideresnet.{name}", *(["members"] if kind == "autoclass" else []))


def _directive(kind: str, target: str, *options: str) -> str:
    lines = [f".. {kind}:: {target}", *(f"   :{option}:" for option in options)]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


# The HTTP interface


def routes(_: str, __: str) -> str:
    """Return the routes of the service from its OpenAPI document."""
    document = yaml.safe_load((ROOT / "src/wideresnet/serve/http/openapi.yaml").read_text("utf-8"))
    return "\n".join(
        _route(method.upper(), path, operation, document["components"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    )


def _route(method: str, path: str, operation: dict[str, Any], components: dict[str, Any]) -> str:
    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            node = components[node["$ref"].split("/")[-2]][node["$ref"].split("/")[-1]]
        return node

    parts = [f"### {method} {path}", operation["summary"], operation.get("description", "").replace("{", "\\{")]
    parameters = [resolve(parameter) for parameter in operation.get("parameters", [])]
    if parameters:
        rows = [(f"`{p['name']}`", p["in"], _type(p["schema"]), p.get("description", "")) for p in parameters]
        parts.append(_table(("parameter", "in", "values", ""), rows))
    if body := operation.get("requestBody"):
        parts.append("Body: " + ", ".join(f"`{kind}`" for kind in body["content"]) + ".")
    answers = [(status, resolve(answer)) for status, answer in operation["responses"].items()]
    rows = [(status, _inline(answer["description"]), _kinds(answer)) for status, answer in answers]
    parts.append(_table(("status", "", "content"), rows))
    for _, answer in answers:
        schema = resolve(answer.get("content", {}).get("application/json", {}).get("schema", {}))
        if fields := list(_fields(schema, resolve)):
            if operation["operationId"] in ("classify", "explain"):
                parts.append(_table(("field of the answer", "type", ""), fields))
            break
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _fields(schema: dict[str, Any], resolve: Resolve, path: str = "") -> Iterator[tuple[str, ...]]:
    """Yield the fields of an answer with their paths, types and descriptions."""
    schema = resolve(schema)
    for name, node in schema.get("properties", {}).items():
        child = resolve(node)
        dotted = f"{path}.{name}" if path else name
        array = child.get("type") == "array" and "items" in child
        yield f"`{dotted}{'[]' if array else ''}`", _type(child), _inline(child.get("description", ""))
        yield from _fields(child["items"] if array else child, resolve, dotted + ("[]" if array else ""))


def _kinds(answer: dict[str, Any]) -> str:
    return ", ".join(f"`{kind}`" for kind in answer.get("content", {}))


def settings(path: str, _: str) -> str:
    """Return the keys of a JSON schema as a table."""
    schema = json.loads((ROOT / path).read_text("utf-8"))
    rows = [
        (f"`{name}`", _type(node), f"`{json.dumps(node['default'])}`" if "default" in node else "required",
         _inline(node.get("description", "")))
        for name, node in schema["properties"].items()
    ]  # fmt: skip
    described = any(row[3] for row in rows)
    heads = ("key", "values", "default", "")
    return _table(heads if described else heads[:3], rows if described else [row[:3] for row in rows])


def _type(schema: dict[str, Any]) -> str:
    """Return the values that a schema admits, in words."""
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    kind = schema.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return f"{kind}, {'above' if 'exclusiveMinimum' in schema else 'at least'} {low}" if low is not None else kind


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _inline(text: str) -> str:
    return " ".join(text.split()).replace("{", "\\{")


# Notebooks


def notebook(path: str, document: str) -> str:
    """Return a notebook as Markdown with the outputs that are stored in it."""
    cells = json.loads((ROOT / path).read_text("utf-8"))["cells"]
    return "\n\n".join(_relink(part, path, document) for cell in cells for part in cell_parts(cell))


def cell_parts(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the text of a cell, or its code and outputs, as Markdown."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell.get("outputs", []):
        yield _output(output)


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = output["data"]
    if "text/html" in data:
        return "```{raw} html\n" + "".join(data["text/html"]) + "\n```"
    if "image/png" in data:
        encoded = base64.b64encode(base64.b64decode("".join(data["image/png"]))).decode()
        return '```{raw} html\n<img alt="output of the cell above" src="data:image/png;base64,' + encoded + '">\n```'
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"


KINDS: dict[str, Callable[[str, str], str]] = {
    "include": include, "names": names, "records": records, "routes": routes, "settings": settings,
    "notebook": notebook,
}  # fmt: skip
