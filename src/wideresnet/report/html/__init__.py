"""HTML pages: layout, charts, sections of evaluations, and overlays on images."""
