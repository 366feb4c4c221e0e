"""The web page at ``/``: files of the package, served unchanged."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

# Path -> file and media type. No other file can be read, whatever path a request has.
STATIC_FILES = {
    "/": ("index.html", "text/html"),
    "/static/page.css": ("page.css", "text/css"),
    "/static/page.js": ("page.js", "text/javascript"),
    "/static/card.js": ("card.js", "text/javascript"),
    "/static/code.js": ("code.js", "text/javascript"),
    "/static/api.js": ("api.js", "text/javascript"),
    "/static/docs.js": ("docs.js", "text/javascript"),
    "/static/docs.css": ("docs.css", "text/css"),
    "/static/save.js": ("save.js", "text/javascript"),
    "/static/words.js": ("words.js", "text/javascript"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Nothing inline and nothing from or to other origins; previews are blob: URLs, drawn evidence is data: URLs.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@lru_cache(maxsize=len(STATIC_FILES))
def read_static_file(path: str) -> tuple[bytes, str]:
    """Return the bytes and the media type of a path of ``STATIC_FILES``."""
    name, media_type = STATIC_FILES[path]
    return resources.files("wideresnet.serve").joinpath("static", name).read_bytes(), media_type
