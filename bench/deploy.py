"""Measure the cost of a deploy compared with podman: `make bench`.

Replaces a container in three ways, in turns, on the same real rootless podman: by `Deploy` over TLS, by the agent's
podman calls without the agent, and by stop, rm and run. The settle time is 0. Prints medians and ratios, without
limits.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence

from agent.admin.pki import make_ca, make_server_certificate
from bench.run import DIST, PYTHON
from mcp.client.agent import AgentClient
from mcp.config.configuration import Node
from mcp.shared.spec import ComponentSpec, ServiceSpec
from tools import images
from tools.hostlib import private
from tools.hostlib.private import Private

ROUNDS = 15
NAME = "web-api"


def main() -> None:
    """Measure and print."""
    with private.create() as podman:
        image = images.build(podman, "web")
        service = ServiceSpec("web", True, (ComponentSpec("api", image),))
        agent, client = start(podman)
        try:
            client.deploy(service, "", force=True)
            calls = podman_calls(image)
            rows = [
                (
                    timed(lambda: client.deploy(service, "", force=True)),
                    timed(lambda: replay(podman, calls)),
                    timed(lambda: by_hand(podman, calls)),
                )
                for _ in range(ROUNDS)
            ]
        finally:
            client.__exit__(None, None, None)
            agent.terminate()
            agent.wait(30)
    deploy, same, typed = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
    print(f"deploy of one component: {deploy:.0f} ms (medians of {ROUNDS} rounds in turns)")
    for name, number, peer in (("the same podman calls alone", 1, same), ("podman stop, rm, run by hand", 2, typed)):
        ratio = statistics.median(row[0] / row[number] for row in rows)
        print(f"  {name}: {peer:.0f} ms; ratio {ratio:.2f}")


def start(podman: Private) -> tuple["subprocess.Popen[bytes]", AgentClient]:
    """Start `mcp-agent server` of the built zipapp, with a settle time of 0; return it with a client."""
    folder = podman.home / "bench"
    folder.mkdir()
    (folder / "mcp-agent.pyz").write_bytes((DIST / "mcp-agent.pyz").read_bytes())
    ca = make_ca("bench")
    pair = make_server_certificate(ca, ["127.0.0.1"])
    (folder / "cert.pem").write_bytes(pair.certificate)
    (folder / "key.pem").write_bytes(pair.key)
    (folder / "agent.toml").write_text(
        f'[server]\ngrpc_addr = "127.0.0.1:0"\ntls_cert = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"\n'
        f'[database]\npath = "{folder}/mcp.db"\n[agent]\nnode_name = "bench"\nsettle = "0s"\n'
    )
    podman.give(folder)
    command = [PYTHON, "-I", str(folder / "mcp-agent.pyz")]
    added = podman.run([*command, "token", "--config", str(folder / "agent.toml"), "add", "bench"])
    log = folder / "log"
    with log.open("wb") as file:
        agent = subprocess.Popen(
            podman.argv([*command, "server", "--config", str(folder / "agent.toml")]),
            stdin=subprocess.DEVNULL,
            stderr=file,
            env=dict(podman.env),
        )
    while "msg=serving" not in log.read_text():
        time.sleep(0.05)
    address = log.read_text().partition("msg=serving address=")[2].split()[0]
    return agent, AgentClient(Node("bench", address), ca.certificate, added.stdout.strip())


def podman_calls(image: str) -> list[list[str]]:
    """Return the calls of a deploy, as in tests/component/test_deploy.py."""
    run = ["run", "--detach", f"--name={NAME}", "--pull=never", "--log-driver=k8s-file"]
    labels = [
        "--label=mcp.service=web",
        "--label=mcp.component=api",
        "--label=mcp.deploy=1",
        "--restart=unless-stopped",
    ]
    return [
        ["ps", "--all", "--no-trunc", "--format=json"],
        ["images", "--format=json"],
        ["stop", "--time=10", NAME],
        ["rename", NAME, f"{NAME}.old"],
        ["inspect", "--type=container", f"{NAME}.old"],
        [*run, *labels, image],
        ["inspect", "--type=container", NAME],
        ["rm", "--force", "--ignore", "--time=10", f"{NAME}.old"],
    ]


def replay(podman: Private, calls: Sequence[Sequence[str]]) -> None:
    """Run the calls one after the other."""
    for call in calls:
        plain(podman, call)


def by_hand(podman: Private, calls: Sequence[Sequence[str]]) -> None:
    """Replace the container without MCP."""
    plain(podman, ["stop", NAME])
    plain(podman, ["rm", NAME])
    plain(podman, next(call for call in calls if call[0] == "run"))


def plain(podman: Private, call: Sequence[str]) -> None:
    """Run podman as the user; the change of user happens in the fork, at no cost for the call."""
    subprocess.run(
        ["podman", *call],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=dict(podman.env),
        cwd=podman.home,
        user=podman.uid if os.geteuid() != podman.uid else None,
        group=podman.gid if os.geteuid() != podman.uid else None,
        extra_groups=[] if os.geteuid() != podman.uid else None,
    )


def timed(work: Callable[[], object]) -> float:
    """Return the duration of `work` in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
