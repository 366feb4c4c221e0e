"""What the service says of itself: an OpenAPI document, and the same as a page for people."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any, cast

import yaml

from wideresnet import __version__
from wideresnet.report.html import page
from wideresnet.serve.settings import ServeSettings


@lru_cache(maxsize=1)
def openapi(settings: ServeSettings, models: tuple[str, ...]) -> dict[str, Any]:
    """The document of this service, with its limits and the names of its models; OpenAPI 3.1.

    Where a token is asked for, the names are left out: the document itself is open to all.
    """
    text = resources.files(__package__).joinpath("openapi.yaml").read_text("utf-8")
    document = cast(dict[str, Any], yaml.safe_load(text))
    document["info"]["version"] = __version__
    document["info"]["x-limits"] = {
        "bytes of a body": settings.max_bytes,
        "pixels of an image": settings.max_pixels,
        "images of a request": settings.most_images,
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


def page_of(document: dict[str, Any]) -> str:
    """The HTML page of an OpenAPI document made by ``openapi``."""
    info = document["info"]
    routes = [
        _route(path, method, operation, document["components"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    limits = [(name, f"{value:,}") for name, value in info["x-limits"].items()]
    about = page.section("", *map(page.paragraph, info["description"].strip().split("\n\n")))
    return page.page(
        f"{info['title']} {info['version']}", [about, page.section("Limits", page.facts(limits)), *routes]
    )


def _route(path: str, method: str, operation: dict[str, Any], components: dict[str, Any]) -> str:
    """One route as a section; what a reference leads to is shown in its place."""

    def whole(each: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in each:
            return each
        _, _, kind, name = each["$ref"].split("/")
        return cast(dict[str, Any], components[kind][name])

    parameters = [whole(each) for each in operation.get("parameters", ())]
    rows = [(each["name"], each["in"], each["description"]) for each in parameters]
    rows += [("", "body", kind) for kind in operation.get("requestBody", {}).get("content", ())]
    answers = [(status, whole(each)["description"]) for status, each in operation["responses"].items()]
    return page.section(
        f"{method.upper()} {path}",
        page.paragraph(operation["summary"]),
        page.paragraph(operation["description"]) if "description" in operation else "",
        page.table(("parameter", "in", "what"), rows),
        page.table(("status", "answer"), answers),
    )
