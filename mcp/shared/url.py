"""URLs of the platform's HTTPS services in configuration files."""

import re
from dataclasses import dataclass
from pathlib import Path

URL_RULE = "expected https://HOST or https://HOST:PORT without a path, as in https://mcias.example.net:8443"
DEFAULT_PORT = 443

# resolution checks the name itself, so only its characters are checked here
URL = r"https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?/?"


@dataclass(frozen=True)
class Endpoint:
    """Host (an IPv6 address without its brackets) and TCP port of a service; `str()` is HOST:PORT."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return HOST:PORT, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class MciasConfig:
    """The MCIAS section of both configurations; `ca_cert` is None to trust the system's authorities."""

    endpoint: Endpoint
    ca_cert: Path | None
    service_name: str


def parse_https_url(text: str) -> Endpoint:
    """Parse an https URL without a path; raises ValueError."""
    match = re.fullmatch(URL, text)
    port = int(match[2]) if match and match[2] else DEFAULT_PORT
    if match is None or not 1 <= port <= 65535:
        raise ValueError(URL_RULE)
    return Endpoint(match[1].strip("[]"), port)
