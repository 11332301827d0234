"""Generate the Python stubs of proto/mcp/v1/mcp.proto with grpcio-tools.

Run as `python -m tools.protogen [OUT]`; writes proto/mcp/v1/*_pb2* below OUT (default: the repository). The import
root is the repository, so the stubs are `proto.mcp.v1.mcp_pb2`, apart from the CLI's package `mcp`.
"""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

from mcp.shared.resources import ROOT

SOURCE = "proto/mcp/v1/mcp.proto"


def generate(out: Path) -> None:
    """Write the three stubs below `out`; raises RuntimeError with protoc's exit status."""
    includes = resources.files("grpc_tools") / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={includes}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            SOURCE,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc failed with status {status}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
