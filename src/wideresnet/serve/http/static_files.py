"""The page at ``/``: files of the package, as they are."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

# path -> file and type. Nothing else is ever read, whatever a request's path holds.
FILES = {
    "/": ("index.html", "text/html"),
    "/static/page.css": ("page.css", "text/css"),
    "/static/page.js": ("page.js", "text/javascript"),
    "/static/card.js": ("card.js", "text/javascript"),
    "/static/code.js": ("code.js", "text/javascript"),
    "/static/api.js": ("api.js", "text/javascript"),
    "/static/words.js": ("words.js", "text/javascript"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Nothing inline, nothing from elsewhere, nothing sent elsewhere; previews are blobs, drawn evidence is data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@lru_cache(maxsize=len(FILES))
def read_file(path: str) -> tuple[bytes, str]:
    """The bytes at a path of ``FILES``, and their type."""
    name, kind = FILES[path]
    return resources.files("wideresnet.serve").joinpath("static", name).read_bytes(), kind
