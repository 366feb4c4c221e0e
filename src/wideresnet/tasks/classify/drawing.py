"""Explanations as images: files of a folder and sections of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_bytes, save_text
from wideresnet.records import EngineInfo, Explanation
from wideresnet.report.explanation import file_name, image_section, to_html
from wideresnet.report.html.overlay import draw_evidence, encoded
from wideresnet.report.names import ClassName

MAX_SECTIONS = 200                                 # images on a page: some 10 MB


@dataclass
class Drawing:
    """The target of drawn explanations: PNG files in ``folder``, sections of the HTML page ``page``, or both."""

    folder: Path | None
    page: Path | None
    name_of: ClassName
    signed: bool
    count: int = 0
    names: set[str] = field(default_factory=set)   # of files
    sections: list[str] = field(default_factory=list)

    def add(self, explanation: Explanation) -> list[Path]:
        """Draw one image; return the files written, one per class."""
        drawn = [draw_evidence(explanation, evidence, signed=self.signed) for evidence in explanation.maps]
        files = []
        if self.folder:
            for evidence, image in zip(explanation.maps, drawn, strict=True):
                name = file_name(explanation.path, self.name_of(evidence.score.index), self.names)
                files.append(self.folder / name)
                save_bytes(files[-1], encoded(image, "PNG"))
        if self.page and len(self.sections) < MAX_SECTIONS:
            self.sections.append(image_section(explanation, drawn, self.name_of))
        self.count += 1
        return files

    def finish(self, model: Mapping[str, object], engine: EngineInfo) -> None:
        """Write the page, if there is one; ``model`` has the facts of a bundle."""
        if self.page:
            save_text(self.page, to_html({**model, **machine_facts()}, engine, self.sections, self.count, self.signed))
