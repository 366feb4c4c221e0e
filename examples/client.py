"""Name every image of a folder by a running ``wrn serve``, several at a time.

    wrn serve &
    python examples/client.py examples --url http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wideresnet

KINDS = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> int:
    """0 when every image was named, else 1."""
    parser = argparse.ArgumentParser(description="Name every image of a folder by a running wrn serve.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token", default="", help="where the service asks for one")
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    client = wideresnet.Client(options.url, options.token)

    def name(image: Path) -> tuple[bool, str]:
        try:
            (result,) = client.classify(image, k=1)["results"]
        except wideresnet.WrnError as error:       # of the service, or a file that cannot be read
            return False, f"{image}: {error}"
        (best,) = result["predictions"]
        return True, f"{image}: {best['label']} ({best['probability']:.1%})"

    images = [path for path in sorted(options.folder.iterdir()) if path.suffix.lower() in KINDS]
    whole = True
    with ThreadPoolExecutor(options.at_once) as threads:
        for named, line in threads.map(name, images):
            print(line)
            whole = whole and named
    return 0 if whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
