"""Fixtures: a stand-in for each outside service, with certificates of one authority."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.admin.pki import KeyPair, make_ca
from tests.platform.mcias import MciasStandIn, mcias


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and the file with its certificate."""

    pair: KeyPair
    file: Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One certificate authority for the whole run."""
    pair = make_ca("MCP test CA")
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    file.write_bytes(pair.certificate)
    return Authority(pair, file)


@pytest.fixture
def stand_in(authority: Authority, tmp_path: Path) -> Iterator[MciasStandIn]:
    """MCIAS, as far as anybody can tell; nothing outside its contract may have been sent to it."""
    with mcias(authority.pair, tmp_path) as standing_in:
        yield standing_in
    assert standing_in.refused == []
