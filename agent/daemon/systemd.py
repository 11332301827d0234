"""Notify systemd of readiness, watchdog and stop.

The protocol is sd_notify(3): datagrams of NAME=VALUE lines to the Unix socket in NOTIFY_SOCKET; without that variable
nothing is sent. The variables are removed from the environment, so that children cannot notify.
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
    """The notification socket of the service manager, if any. No method raises or blocks."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """Notify `address`, in the form of NOTIFY_SOCKET; `watchdog` is the interval in seconds, 0 for none."""
        self.watchdog = watchdog
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @ is the abstract namespace
        self._failed = False
        # open from the start, so that the watchdog is fed even when the process has no descriptor left
        flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_UNIX, flags) if address else None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> "Notifier":
        """Remove NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from the environment; see sd_watchdog_enabled(3)."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        usable = microseconds.isascii() and microseconds.isdigit() and ours and bool(address)
        return cls(address, int(microseconds) / 1e6 if usable else 0.0)

    def ready(self) -> None:
        """Notify that calls are accepted, with the version in the status, for which an upgrade waits."""
        self._send(f"READY=1\nSTATUS=serving {VERSION}")

    def stopping(self) -> None:
        """Notify that the agent is stopping."""
        self._send("STOPPING=1")

    async def watch(self) -> None:
        """Notify the watchdog twice per interval until cancelled; return at once without a watchdog.

        If the event loop hangs, systemd sends SIGABRT, on which the agent logs its stack.
        """
        if self.watchdog <= 0:
            return
        with suppress(OSError, ValueError):  # stderr may be closed or not a file
            faulthandler.enable()
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 2)

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:  # once, as the watchdog repeats it
                logger.warning("cannot notify systemd", extra=fields(message=message, error=error.strerror))
            self._failed = True
