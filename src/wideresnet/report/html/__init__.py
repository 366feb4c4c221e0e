"""HTML pages: layout, charts, curves, and overlays on images."""
