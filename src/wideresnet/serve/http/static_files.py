"""The web page at ``/``: files of the package, served unchanged."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

_NAMES = "page.css page.js card.js code.js api.js docs.js docs.css save.js words.js icon.svg"
_MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# Path -> file and media type. No other file can be read, whatever path a request has.
STATIC_FILES = {f"/static/{name}": (name, _MEDIA_TYPES[name.partition(".")[2]]) for name in _NAMES.split()}
STATIC_FILES["/"] = "index.html", "text/html"
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
