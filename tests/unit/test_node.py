"""Facts about the node, and host ports."""

import itertools
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.monitor.node import NodeProbe, parse_cpu, parse_meminfo
from agent.services import ports


def test_meminfo() -> None:
    text = "MemTotal:        8052084 kB\nMemAvailable:    5,1\nHugePages_Total:       0\nMemFree: 12 kB\nnonsense\n"
    assert parse_meminfo(text) == {"MemTotal": 8052084 * 1024, "MemFree": 12 * 1024}
    assert parse_meminfo("") == {}


def test_processor() -> None:
    text = "cpu  100 20 30 800 50 0 0 0 7 9\ncpu0 1 1 1 1\n"
    assert parse_cpu(text) == (150, 1000)


def test_the_use_since_the_last_question(tmp_path: Path) -> None:
    probe = NodeProbe(tmp_path)
    assert probe._cpu_percent("cpu 50 0 0 50 0 0 0 0\n") == 50.0
    assert probe._cpu_percent("cpu 50 0 0 50 0 0 0 0\n") == 0.0
    assert probe._cpu_percent("cpu 150 0 0 50 0 0 0 0\n") == 100.0


def test_the_real_ones(tmp_path: Path) -> None:
    facts = NodeProbe(tmp_path).read()
    assert facts.disk_total >= facts.disk_free > 0
    assert facts.memory_total >= facts.memory_free > 0
    assert 0 <= facts.cpu_percent <= 100
    assert facts.up_since < datetime.now(UTC)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_listened_on_is_not_free(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: port % 2 == 0)
    found = list(ports.candidates())
    assert len(found) > 100
    assert len(set(found)) == len(found)
    assert all(ports.FIRST <= port <= ports.LAST and port % 2 == 0 for port in found)
    other = list(itertools.islice(ports.candidates(), len(found)))
    assert other != found
