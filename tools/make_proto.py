"""Compile the .proto files of ``serve/grpc`` to descriptors.bin: ``python tools/make_proto.py``; needs grpcio-tools.

The compiled form is protobuf's own, the same for all versions, unlike generated Python code (docs/decisions/0027).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

FOLDER = Path(__file__).parents[1] / "src" / "wideresnet" / "serve" / "grpc"


def compiled() -> bytes:
    """Return the FileDescriptorSet of all .proto files. Raises SystemExit with protoc's errors on stderr."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "descriptors.bin")
        names = sorted(path.name for path in FOLDER.glob("*.proto"))
        if protoc.main(["protoc", f"-I{FOLDER}", f"--descriptor_set_out={output}", *names]):
            raise SystemExit(1)
        return output.read_bytes()


def main() -> int:
    """Write the file; return 0."""
    (FOLDER / "descriptors.bin").write_bytes(compiled())
    return 0


if __name__ == "__main__":
    sys.exit(main())
