"""Write the JSON Schemas of YAML files: docs/buildfile.schema.json for ``wrn compile``, docs/serve.schema.json for
``wrn serve --config``.

``python tools/make_schema.py`` writes; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from wideresnet.cli.groups import FACT_NAMES
from wideresnet.serve.settings import ServeSettings
from wideresnet.tasks.zoo.buildfile import BuildFile

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Write both schemas."""
    (DOCS / "buildfile.schema.json").write_text(page(), "utf-8")
    (DOCS / "serve.schema.json").write_text(serve_page(), "utf-8")


def page() -> str:
    """Return the schema of a build file, for editors and validators."""
    return json.dumps(BuildFile.model_json_schema(), indent=2) + "\n"


def serve_page() -> str:
    """Return the schema of the settings under the names of the options: lists may be strings, the token is a file."""
    schema = ServeSettings.model_json_schema()
    options = schema["properties"]
    options["model"], options["models"] = options.pop("models"), options.pop("folder") | {"title": "Models"}
    del options["token"], options["admin_token"], options["facts"], options["figures"], schema["$defs"]["FileFacts"]
    for name in FACT_NAMES:
        kind = "number" if name == "bn_eps" else "string"
        options[name] = {"type": kind, "title": name.replace("_", " ").title()}
    options["token_file"] = {"type": "string", "title": "Token File"}
    options["admin_token_file"] = {"type": "string", "title": "Admin Token File"}
    options["device"] = {"const": "cpu", "title": "Device", "default": "cpu"}
    options["ray"] = {"type": "string", "title": "Ray", "default": ""}
    options["replicas"] = {"type": ["string", "integer"], "title": "Replicas", "default": "1"}
    options["cpus"] = {"type": "integer", "title": "Cpus", "minimum": 1, "default": 1}
    for name in ("model", "cors"):
        head = {"title": options[name].pop("title"), "default": options[name].pop("default")}
        options[name] = {**head, "anyOf": [{"type": "string"}, options[name]]}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    main()
