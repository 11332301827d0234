"""`mcp-agent cert ca|request|sign|check`: certificates for provisioning and for manual use.

The CA is on the operator's machine, and a node's key never leaves the node: `request` runs on the node, `sign` on the
operator's machine. `sign` takes the certified names as arguments, not from the request.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from mcp.shared.command import Argument, Command, argument
from mcp.shared.errors import EXIT_DONE, InvalidInput, McpError, NotReady

DAYS = 825  # validity of a node's certificate
SOON = 30  # days before expiry at which it is renewed


def _checked(act: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """Wrap a command to report cryptography's ValueErrors as InvalidInput."""

    def run(args: argparse.Namespace) -> int:
        try:
            act(args)
        except ValueError as error:
            raise InvalidInput(f"a certificate, key or request cannot be used: {error}") from None
        return EXIT_DONE

    return run


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 36500):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of days from 1 to 36500')
    return int(text)


def _ca(args: argparse.Namespace) -> None:
    from agent.admin import pki
    from mcp.shared.files import read_secret, write_atomic

    if args.cert.exists():
        raise NotReady(f"{args.cert} already exists", "a CA is never overwritten: name another file")
    key = read_secret(args.key).encode() if args.key.exists() else None  # left by an interrupted run
    pair = pki.make_ca(args.name, key=key)
    if key is None:
        write_atomic(args.key, pair.key)
    write_atomic(args.cert, pair.certificate, 0o644)


def _request(args: argparse.Namespace) -> None:
    from agent.admin import pki
    from agent.admin.owner import refuse_root
    from mcp.shared.files import read_secret, write_atomic

    refuse_root(args.key)
    if not args.key.exists():
        write_atomic(args.key, pki.make_key())
    sys.stdout.write(pki.make_request(read_secret(args.key).encode(), args.name).decode())


def _sign(args: argparse.Namespace) -> None:
    from agent.admin import pki
    from mcp.shared.files import Trust, read_file, read_secret

    ca = pki.KeyPair(read_file(args.ca, Trust.OWN), read_secret(args.ca_key).encode())
    request = sys.stdin.buffer.read(65536)
    sys.stdout.write(pki.sign_request(ca, request, args.name, args.days).decode())


def _check(args: argparse.Namespace) -> None:
    from datetime import UTC, datetime

    from agent.admin import pki
    from mcp.shared.files import Trust, read_file, read_secret

    chain = read_file(args.cert)
    key = read_secret(args.key).encode() if args.key else None
    ca = read_file(args.ca, Trust.OWN) if args.ca else None
    report = pki.examine(chain, key=key, ca=ca, names=args.name)
    left = (report.expires - datetime.now(UTC)).days
    if report.problem:
        raise McpError(f"{args.cert}: {report.problem}")
    if left < args.days:
        raise McpError(f"{args.cert}: expires on {report.expires:%Y-%m-%d}, in {max(left, 0)} days")
    sys.stdout.write(f"valid until {report.expires:%Y-%m-%d}\n")


def _path(name: str, text: str, *, required: bool = True) -> Argument:
    return argument(name, type=Path, required=required, metavar="FILE", help=text)


COMMAND = Command(
    "cert",
    "create, sign and check certificates",
    commands=(
        Command(
            "ca",
            "create a certificate authority; existing files are not overwritten",
            _checked(_ca),
            arguments=(
                _path("--cert", "the certificate to write"),
                _path("--key", "the key to write, with mode 0600"),
                argument("--name", default="MCP", metavar="NAME", help="its name (default: MCP)"),
            ),
        ),
        Command(
            "request",
            "print a certificate request; create its key if there is none",
            _checked(_request),
            arguments=(
                _path("--key", "the key, with mode 0600"),
                argument("name", nargs="+", metavar="NAME", help="host names and IP addresses"),
            ),
        ),
        Command(
            "sign",
            "print a server certificate for the request on stdin",
            _checked(_sign),
            arguments=(
                _path("--ca", "the certificate of the authority"),
                _path("--ca-key", "the key of the authority"),
                argument("--days", type=_days, default=DAYS, metavar="N", help=f"the validity (default: {DAYS})"),
                argument("name", nargs="+", metavar="NAME", help="the host names and IP addresses to certify"),
            ),
        ),
        Command(
            "check",
            "print the expiry of a certificate; exit status 1 if it is not valid",
            _checked(_check),
            arguments=(
                _path("--cert", "the certificate, with its chain"),
                _path("--key", "the key, which must match", required=False),
                _path("--ca", "the authority that must have signed it", required=False),
                argument("--days", type=_days, default=SOON, metavar="N", help=f"days left (default: {SOON})"),
                argument("name", nargs="*", metavar="NAME", help="host names and IP addresses that it must cover"),
            ),
        ),
    ),
)
