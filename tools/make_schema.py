"""Write docs/buildfile.schema.json, the JSON Schema of the build files that ``wrn compile`` reads.

``python tools/make_schema.py`` writes; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from wideresnet.tasks.buildfile import BuildFile

PAGE = Path(__file__).resolve().parents[1] / "docs" / "buildfile.schema.json"


def main() -> None:
    """Write the schema anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """The schema, for editors and checkers."""
    return json.dumps(BuildFile.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    main()
