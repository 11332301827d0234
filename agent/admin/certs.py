"""`mcp-agent cert ca|request|sign|check`: what provisioning needs of certificates, for people as well.

The operator's machine has the CA, and the node has its own key, which never leaves it: `request` runs on the node,
`sign` where the CA's key is. The names that a certificate is for are given to `sign`, not taken from the request.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from mcp.shared.errors import InvalidInput, McpError, NotReady
from mcp.shared.files import read_secret, write_atomic

DAYS = 825  # how long a node's certificate is valid
SOON = 30  # days before its end at which one is due


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their arguments."""
    commands = parser.add_subparsers(dest="cert_command", required=True, metavar="COMMAND")
    ca = commands.add_parser("ca", help="make a certificate authority; no file that is there is replaced")
    ca.add_argument("--cert", type=Path, required=True, metavar="FILE", help="its certificate, to be written")
    ca.add_argument("--key", type=Path, required=True, metavar="FILE", help="its key, to be written with mode 0600")
    ca.add_argument("--name", default="MCP", metavar="NAME", help="its name (default: MCP)")
    request = commands.add_parser("request", help="print a certificate request for a key, which is made if need be")
    request.add_argument("--key", type=Path, required=True, metavar="FILE", help="the key, mode 0600")
    request.add_argument("name", nargs="+", metavar="NAME", help="host names and IP addresses")
    sign = commands.add_parser("sign", help="print a server certificate for the request on stdin")
    sign.add_argument("--ca", type=Path, required=True, metavar="FILE", help="the CA's certificate")
    sign.add_argument("--ca-key", type=Path, required=True, metavar="FILE", help="the CA's key")
    sign.add_argument("--days", type=_days, default=DAYS, metavar="N", help=f"how long it is valid (default: {DAYS})")
    sign.add_argument("name", nargs="+", metavar="NAME", help="host names and IP addresses that it is for")
    check = commands.add_parser("check", help="say until when a certificate is good; exit status 1 if it is not")
    check.add_argument("--cert", type=Path, required=True, metavar="FILE", help="the certificate, and its chain")
    check.add_argument("--key", type=Path, metavar="FILE", help="its key, which must fit")
    check.add_argument("--ca", type=Path, metavar="FILE", help="who must have signed it")
    check.add_argument("--days", type=_days, default=SOON, metavar="N", help=f"it must be good for (default: {SOON})")
    check.add_argument("name", nargs="*", metavar="NAME", help="host names and IP addresses that it must be for")


def run(args: argparse.Namespace) -> int:
    """Carry out a command on certificates; raises McpError."""
    try:
        {"ca": _ca, "request": _request, "sign": _sign, "check": _check}[args.cert_command](args)
    except ValueError as error:  # what cryptography raises for all that is not what it should be
        raise InvalidInput(f"a certificate, key or request cannot be used: {error}") from None
    return 0


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 36500):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of days from 1 to 36500')
    return int(text)


def _ca(args: argparse.Namespace) -> None:
    from agent.admin import pki

    if args.cert.exists():
        raise NotReady(f"{args.cert} is there already", "a CA is never replaced: name another file")
    key = read_secret(args.key).encode() if args.key.exists() else None  # as a run that was interrupted left it
    pair = pki.make_ca(args.name, key=key)
    if key is None:
        write_atomic(args.key, pair.key)
    write_atomic(args.cert, pair.certificate, 0o644)


def _request(args: argparse.Namespace) -> None:
    from agent.admin import pki

    if not args.key.exists():
        write_atomic(args.key, pki.make_key())
    sys.stdout.write(pki.make_request(read_secret(args.key).encode(), args.name).decode())


def _sign(args: argparse.Namespace) -> None:
    from agent.admin import pki

    ca = pki.KeyPair(args.ca.read_bytes(), read_secret(args.ca_key).encode())
    request = sys.stdin.buffer.read(65536)
    sys.stdout.write(pki.sign_request(ca, request, args.name, args.days).decode())


def _check(args: argparse.Namespace) -> None:
    from agent.admin import pki

    chain = args.cert.read_bytes()
    key = read_secret(args.key).encode() if args.key else None
    ca = args.ca.read_bytes() if args.ca else None
    verdict = pki.examine(chain, key=key, ca=ca, names=args.name)
    left = (verdict.expires - datetime.now(UTC)).days
    if verdict.problem:
        raise McpError(f"{args.cert}: {verdict.problem}")
    if left < args.days:
        raise McpError(f"{args.cert}: ends on {verdict.expires:%Y-%m-%d}, in {max(left, 0)} days")
    sys.stdout.write(f"valid until {verdict.expires:%Y-%m-%d}\n")
