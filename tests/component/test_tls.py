"""TLS 1.3 and nothing older, on both sides; and what the CLI says of servers that are something else."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.admin.pki import KeyPair, make_ca, make_server_certificate
from tests.agents import Cli, Outcome, make_home, write_cli_config
from tests.component.conftest import Rig
from tests.waiting import wait_for


def s_client(rig: Rig, *options: str) -> "subprocess.CompletedProcess[bytes]":
    """What openssl says of a connection to the agent."""
    ca_file = str(rig.agent.home.folder / "ca.pem")
    argv = ["openssl", "s_client", "-connect", rig.agent.address, "-CAfile", ca_file, "-alpn", "h2"]
    return subprocess.run(
        [*argv, "-verify_return_error", "-verify_ip", "127.0.0.1", *options],
        input=b"", capture_output=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_agent_speaks_tls_1_3(shared: Rig) -> None:
    done = s_client(shared, "-tls1_3")
    assert done.returncode == 0
    assert b"New, TLSv1.3, Cipher is TLS_" in done.stdout
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"ALPN protocol: h2" in done.stdout


@pytest.mark.parametrize("options", [("-tls1_2",), ("-tls1_1",), ("-no_tls1_3",)])
def test_the_agent_refuses_anything_older(shared: Rig, options: tuple[str, ...]) -> None:
    for ciphers in ("DEFAULT@SECLEVEL=0", "ALL:COMPLEMENTOFALL:PSK:@SECLEVEL=0"):
        done = s_client(shared, *options, "-cipher", ciphers, "-psk", "00112233")
        assert done.returncode != 0
        assert b"Cipher is (NONE)" in done.stdout


@contextmanager
def openssl_server(folder: Path, *options: str) -> Iterator[str]:
    """`openssl s_server` with the certificate in `folder`; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-alpn", "h2", "-quiet"),
            *("-cert", f"{folder}/cert.pem", "-key", f"{folder}/key.pem", *options),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: _listens(port))
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def silent_server(folder: Path) -> Iterator[str]:
    """A server that makes any number of TLS connections, and says nothing on them; gives its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    accepted: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            accepted.append(context.wrap_socket(connection, server_side=True))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in accepted:
                connection.close()


def _listens(port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


def ask(folder: Path, ca: KeyPair, address: str) -> Outcome:
    """`mcp ps` of an agent at `address`."""
    home = make_home(folder, ca) if not (folder / "mcp.db").exists() else make_home(folder / "again", ca)
    return Cli(write_cli_config(home, address)).run("ps", "--json")


def expect_unreachable(done: Outcome, words: str) -> None:
    """One line that says why, exit code 4."""
    assert done.code == 4
    (line,) = done.errors
    assert line.startswith("mcp: rift: 127.0.0.1:")
    assert words in line


def test_the_cli_refuses_a_server_of_tls_1_2(tmp_path: Path, ca: KeyPair) -> None:
    make_home(tmp_path / "server", ca)
    with openssl_server(tmp_path / "server", "-tls1_2") as address:
        expect_unreachable(ask(tmp_path / "client", ca, address), "TLS 1.3 handshake failed")


def test_a_certificate_of_another_ca(tmp_path: Path, ca: KeyPair, shared: Rig) -> None:
    other = make_ca("somebody else's")
    done = ask(tmp_path, other, shared.agent.address)
    expect_unreachable(done, "presented an untrusted certificate: ")
    assert "check ca_cert in mcp.toml" in done.stderr


def test_a_certificate_for_another_name(tmp_path: Path, ca: KeyPair, shared: Rig) -> None:
    home = make_home(tmp_path, ca)
    config = write_cli_config(home, f"127.0.0.2:{shared.agent.port}")
    with relay("127.0.0.2", shared.agent.port):
        done = Cli(config).run("ps")
    assert done.code == 4
    (line,) = done.errors
    assert "presented an untrusted certificate: " in line
    assert "127.0.0.2" in line


@contextmanager
def relay(address: str, port: int) -> Iterator[None]:
    """The agent's port on another address of loopback."""
    with socket.create_server((address, port)) as server:
        threading.Thread(target=_serve, args=(server, port), daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, port: int) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        other = socket.create_connection(("127.0.0.1", port))
        for source, target in ((connection, other), (other, connection)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_a_server_of_plain_text(tmp_path: Path, ca: KeyPair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        done = ask(tmp_path, ca, f"127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
    expect_unreachable(done, "does not speak TLS, so it is not an mcp-agent")


def _greet(server: socket.socket) -> None:
    """As an HTTP server does with what it cannot parse."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def test_a_server_that_hangs_up(tmp_path: Path, ca: KeyPair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_hang_up, args=(server,), daemon=True).start()
        done = ask(tmp_path, ca, f"127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
    assert done.code == 4
    assert len(done.errors) == 1


def _hang_up(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def test_a_port_that_nobody_listens_on(tmp_path: Path, ca: KeyPair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    expect_unreachable(ask(tmp_path, ca, f"127.0.0.1:{port}"), "refuses the connection")


def test_servers_that_never_answer(tmp_path: Path, ca: KeyPair) -> None:
    """One that says nothing at all, and two that speak TLS and then nothing, once or always; asked at the same time."""
    make_home(tmp_path / "server", ca)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        openssl_server(tmp_path / "server", "-tls1_3") as no_agent,
        silent_server(tmp_path / "server") as silent,
        ThreadPoolExecutor(3) as pool,
    ):
        addresses = (f"127.0.0.1:{mute.getsockname()[1]}", no_agent, silent)
        asked = [pool.submit(ask, tmp_path / address, ca, address) for address in addresses]
        for answer in asked:
            expect_unreachable(answer.result(), "does not respond")


def test_one_node_of_two_is_away(shared: Rig, tmp_path: Path, ca: KeyPair) -> None:
    home = make_home(tmp_path, ca)
    home.token_file.write_text(shared.agent.token)
    config = write_cli_config(home, "127.0.0.1:1", shared.agent.address)
    done = Cli(config).run("node", "list")
    assert done.code == 4
    (line,) = done.errors
    assert line.startswith("mcp: rift: 127.0.0.1:1 refuses the connection")
    rows = [row.split() for row in done.stdout.splitlines()[1:]]
    assert {row[0]: row[3] for row in rows} == {"rift": "unreachable", "rift2": "ready"}


def test_the_end_of_the_certificate_is_shown_and_alerted_until_it_is_renewed(rig: Rig, ca: KeyPair) -> None:
    for days, shown, alert in ((3, "2d", "kind=certificate"), (826, "825d", "kind=resolved")):
        rig.agent.stop()
        pair = make_server_certificate(ca, ["localhost", "127.0.0.1"], days=days)
        (rig.agent.home.folder / "cert.pem").write_bytes(pair.certificate)
        (rig.agent.home.folder / "key.pem").write_bytes(pair.key)
        rig.restart()
        header, row = rig.agent.cli.run("agent", "status").stdout.splitlines()
        assert dict(zip(header.split(), row.split(), strict=False))["NODE"] == "rift"
        assert row[header.index("CERTIFICATE") :].split()[0] == shown
        (status,) = json.loads(rig.agent.cli.run("agent", "status", "--json").stdout)
        end = datetime.fromisoformat(status["certificate_not_after"])
        assert abs(end - datetime.now(UTC) - timedelta(days=days)) < timedelta(hours=2)
        wait_for(lambda alert=alert: alert in rig.agent.log())  # type: ignore[misc]  # mypy cannot infer the lambda
    assert "renew it with `mcp node provision rift`" in rig.agent.log()
