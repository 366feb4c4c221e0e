"""The documentation site (`make site`): Sphinx reads the Markdown of this folder with MyST."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from wideresnet import __version__

ROOT = Path(__file__).parents[1]

project = "wideresnet"
author = "the authors of wideresnet"
copyright = "2026, " + author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3                           # links to sections of other pages, as on the repository's pages
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]  # answers in JSON are shortened with "…"

autodoc_default_options = {"members": True}
toc_object_entries = False                         # every name has a heading already
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100

html_theme = "pydata_sphinx_theme"
html_title = "wideresnet"
html_show_sphinx = False
html_favicon = "../src/wideresnet/serve/static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_copy_source = html_show_sourcelink = False


def setup(app: Any) -> None:
    """Replace the marks of generated parts in pages by their text."""
    fill = runpy.run_path(str(ROOT / "tools" / "site_parts.py"))["fill"]

    def read(app: Any, page: str, source: list[str]) -> None:
        source[0] = fill(page, source[0])

    app.connect("source-read", read)
