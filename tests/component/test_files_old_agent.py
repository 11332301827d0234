"""mcp push and mcp pull with an agent that knows files only in one message, as the first ones did."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mcp.shared.tls import prepare_grpc
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Cli, Home, write_cli_config
from tests.component.conftest import copy_home

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before

from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc  # noqa: E402

MB = 1_000_000


class OldAgent(pb_grpc.McpAgentServiceServicer):
    """Keeps files in memory; every other call is unimplemented."""

    def __init__(self) -> None:
        """It has no files."""
        self.files: dict[tuple[str, str], tuple[bytes, int]] = {}

    def PushFile(self, request: pb.PushFileRequest, context: Any) -> pb.PushFileResponse:  # noqa: ARG002
        """Keep a file."""
        self.files[request.service, request.path] = request.content, request.mode
        return pb.PushFileResponse(success=True)

    def PullFile(self, request: pb.PullFileRequest, context: Any) -> pb.PullFileResponse:  # noqa: ARG002
        """Give it back."""
        content, mode = self.files[request.service, request.path]
        return pb.PullFileResponse(content=content, mode=mode)


@pytest.fixture
def old(tmp_path: Path, template: Home) -> Iterator[tuple[OldAgent, Cli]]:
    """An old agent, and the CLI configured for it."""
    home = copy_home(template, tmp_path / "agent")
    agent, server = OldAgent(), grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_McpAgentServiceServicer_to_server(agent, server)  # type: ignore[no-untyped-call]
    pair = ((home.folder / "key.pem").read_bytes(), (home.folder / "cert.pem").read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield agent, Cli(write_cli_config(home, f"127.0.0.1:{port}"))
    server.stop(None).wait()


def test_small_files_are_copied_all_the_same(old: tuple[OldAgent, Cli], tmp_path: Path) -> None:
    agent, cli = old
    content = os.urandom(3 * MB)
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "x").chmod(0o640)
    done = cli.run("push", str(tmp_path / "x"), "web/x", "--node", "rift")
    assert (done.code, done.stdout, done.stderr) == (0, "web/x: pushed 3.0 MB to rift\n", "")
    assert agent.files == {("web", "x"): (content, 0o640)}
    done = cli.run("pull", "web/x", str(tmp_path / "y"), "--node", "rift")
    assert (done.code, done.stderr) == (0, "")
    assert (tmp_path / "y").read_bytes() == content
    assert (tmp_path / "y").stat().st_mode & 0o7777 == 0o640


def test_what_it_cannot_take_is_said(old: tuple[OldAgent, Cli], tmp_path: Path) -> None:
    agent, cli = old
    (tmp_path / "x").write_bytes(bytes(5 * MB))
    done = cli.run("push", str(tmp_path / "x"), "web/x", "--node", "rift")
    assert (done.code, done.stderr) == (
        1,
        "mcp: web/x: is too large for the agent of rift, which knows no chunks; "
        "upgrade it with `mcp agent upgrade rift`\n",
    )
    argv = [*cli.command, "push", "-", "web/x", "--node", "rift"]
    piped = subprocess.run(argv, input=b"x", env=cli.environment(), capture_output=True, text=False, check=False)
    assert piped.returncode == 1
    assert piped.stderr == (
        b"mcp: -: can be read only once, and the agent knows no chunks; "
        b"upgrade the agent with `mcp agent upgrade`, or push a regular file\n"
    )
    assert agent.files == {}
