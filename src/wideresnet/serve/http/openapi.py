"""The OpenAPI document of the service, and its HTML page."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any, cast

import yaml

from wideresnet import __version__
from wideresnet.report.html import page
from wideresnet.serve.settings import ServeSettings


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
    if not settings.explain:
        del document["paths"]["/v1/explain"]
    if settings.token is not None:
        document["security"] = [{"token": []}]
    elif models:
        document["components"]["parameters"]["model"]["schema"] = {"enum": list(models)}
    return document


def render_docs(document: dict[str, Any]) -> str:
    """Return the HTML page of an ``openapi_document``."""
    info = document["info"]
    routes = [
        _route(path, method, operation, document["components"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    limits = [(name, f"{value:,}") for name, value in info["x-limits"].items()]
    introduction = page.section("", *map(page.paragraph, info["description"].strip().split("\n\n")))
    return page.page(
        f"{info['title']} {info['version']}", [introduction, page.section("Limits", page.facts(limits)), *routes]
    )


def _route(path: str, method: str, operation: dict[str, Any], components: dict[str, Any]) -> str:
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
    return page.section(
        f"{method.upper()} {path}",
        page.paragraph(operation["summary"]),
        page.paragraph(operation["description"]) if "description" in operation else "",
        page.table(("parameter", "in", "description"), rows),
        page.table(("status", "response"), responses),
    )
