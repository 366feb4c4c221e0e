"""The OpenAPI document of the service, and its HTML page."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any, cast

import yaml

from wideresnet import __version__
from wideresnet.report.escape import json_text
from wideresnet.report.html import page
from wideresnet.serve.http.request_checks import CONTROL
from wideresnet.serve.settings import MiB, ServeSettings

HEAD = (                                           # of /docs: forms for requests to this service
    '<link rel="icon" href="static/icon.svg" type="image/svg+xml">\n'
    '<link rel="stylesheet" href="static/docs.css">\n<script type="module" src="static/docs.js"></script>\n'
)


@lru_cache(maxsize=1)
def openapi_document(settings: ServeSettings, models: tuple[str, ...]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a service, with its limits and the names of its models.

    With a token the names are left out, since the document itself is public.
    """
    text = resources.files(__package__).joinpath("openapi.yaml").read_text("utf-8")
    document = cast(dict[str, Any], yaml.safe_load(text))
    document["info"]["version"] = __version__
    document["info"]["x-limits"] = {
        "bytes of a body": settings.max_bytes,
        "pixels of an image": settings.max_pixels,
        "images of a request": settings.images_per_request,
        "images inside": settings.capacity,
        "seconds to send a body": settings.upload_deadline,
        "seconds to answer it": settings.deadline,
    }
    if settings.admin_token is None:
        document["paths"] = {path: item for path, item in document["paths"].items() if not path.startswith(CONTROL)}
    if not settings.shadow:
        del document["paths"]["/shadow"]
    if not settings.explain:
        del document["paths"]["/v1/explain"]
    if settings.token is not None:
        document["security"] = [{"token": []}]
    elif models:
        document["components"]["parameters"]["model"]["schema"] = {"enum": list(models)}
    return document


def render_docs(document: dict[str, Any], base_url: str) -> str:
    """Return the HTML page of an ``openapi_document``; ``base_url`` ends with a slash and stands in the examples."""
    info = document["info"]
    routes = [
        _route(f"{method.upper()} {path}", operation, document["components"], base_url)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    limits = [
        (name, f"{value / MiB:,.4g} MiB" if name.startswith("bytes") else f"{value:,}")
        for name, value in info["x-limits"].items()
    ]
    paragraphs = (" ".join(text.split()) for text in info["description"].split("\n\n"))
    introduction = page.section("", *map(page.paragraph, paragraphs))
    sections = [introduction, page.section("Limits", page.facts(limits)), *routes]
    return page.page(f"{info['title']} {info['version']}", sections, HEAD)


def _route(heading: str, operation: dict[str, Any], components: dict[str, Any], base_url: str) -> str:
    """Return one route as an HTML section, with its references resolved."""

    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        _, _, kind, name = node["$ref"].split("/")
        return cast(dict[str, Any], components[kind][name])

    parameters = map(resolve, operation.get("parameters", ()))
    rows = [(parameter["name"], parameter["in"], parameter["description"]) for parameter in parameters]
    rows += [("", "body", media_type) for media_type in operation.get("requestBody", {}).get("content", ())]
    responses = [(status, resolve(node)["description"]) for status, node in operation["responses"].items()]
    examples = operation.get("x-examples", {}) | {
        f"{status}, {kind}": json_text(content["example"], indent=1)
        for status, node in operation["responses"].items()
        for kind, content in resolve(node).get("content", {}).items()
        if "example" in content
    }
    return page.section(
        heading,
        page.paragraph(operation["summary"]),
        page.paragraph(operation["description"]) if "description" in operation else "",
        page.table(("parameter", "in", "description"), rows),
        page.table(("status", "response"), responses),
        *(page.code(name, text.replace("BASE/", base_url)) for name, text in examples.items()),
    )
