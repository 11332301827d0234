"""What systemd is told: that the agent serves, that its event loop still turns, and that it is stopping.

The protocol is sd_notify(3)'s: a datagram of NAME=VALUE lines to the Unix socket in NOTIFY_SOCKET. Without that
variable nothing is sent. The variables are taken out of our environment, so that no child can speak for us.
"""

import asyncio
import faulthandler
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from agent.log import fields, logger
from mcp.shared.version import VERSION


class Notifier:
    """The service manager that started us, if there is one. Nothing here raises or blocks."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """Take the socket's address as NOTIFY_SOCKET has it, and the watchdog's interval in seconds; 0 is none."""
        self.watchdog = watchdog
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @ is the abstract namespace
        self._failed = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> "Notifier":
        """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment; see sd_watchdog_enabled(3)."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        usable = microseconds.isascii() and microseconds.isdigit() and ours and bool(address)
        return cls(address, int(microseconds) / 1e6 if usable else 0.0)

    def ready(self) -> None:
        """Calls are answered from now on; the version is what an upgrade of the agent waits to see."""
        self._send(f"READY=1\nSTATUS=serving {VERSION}")

    def stopping(self) -> None:
        """We are about to end."""
        self._send("STOPPING=1")

    async def watch(self) -> None:
        """Say twice in each interval that the event loop turns, until cancelled; returns at once without a watchdog.

        A loop that hangs says nothing, and systemd ends the agent by SIGABRT, which then logs where it hung.
        """
        if self.watchdog <= 0:
            return
        with suppress(OSError, ValueError):  # stderr may be closed, or no file
            faulthandler.enable()
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as to:
                to.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:  # once: the watchdog would say it for ever
                logger.warning("systemd cannot be told", extra=fields(message=message, error=error.strerror))
            self._failed = True
