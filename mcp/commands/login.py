"""mcp login"""

import argparse
import sys
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments
from mcp.commands.shared.account import role_of
from mcp.shared.command import Command, argument, flag
from mcp.shared.errors import InvalidFile, InvalidInput, NotReady, shell_word
from mcp.shared.roles import Role, role_text
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session
    from mcp.config.configuration import Node
    from mcp.shared.url import MciasConfig

SECRET_LIMIT = 16384  # bytes read from stdin


def run(session: "Session", args: argparse.Namespace) -> int:
    """Obtain a token and store it once it is accepted."""
    if args.token_stdin:
        return _take_token(session, args)
    for option, given in (("--node", args.node is not None), ("--force", args.force)):
        if given:
            raise InvalidInput(f"{option}: only valid with --token-stdin", "omit it: MCIAS checks passwords")
    if session.config.mcias is None:
        raise InvalidInput(
            f"{session.config.source} has no MCIAS to log in to ([mcias] server_url)",
            "create a token with `mcp-agent token add` on the node and pass it to `mcp login --token-stdin`",
        )
    return _log_in(session, session.config.mcias, args)


def _log_in(session: "Session", settings: "MciasConfig", args: argparse.Namespace) -> int:
    from mcp.shared.mcias import Mcias  # slow to import

    if args.totp is not None and not (args.totp.isascii() and args.totp.isdigit() and 6 <= len(args.totp) <= 8):
        raise InvalidInput("--totp: expected a code of 6 to 8 digits")
    try:
        mcias = Mcias(settings.endpoint, settings.ca_cert)
    except InvalidInput as error:
        raise InvalidFile(str(session.config.source), [f"mcias.{error}"]) from None
    username = _username(args)
    login = mcias.login(username, _password(args), args.totp or "", settings.service_name)
    session.store_token(login.token)
    output.line(f"logged in as {username} until {login.expires_at:%Y-%m-%d %H:%M} UTC")
    _warn(session)
    return 0


def _username(args: argparse.Namespace) -> str:
    from mcp.terminal import prompt

    username: str | None = args.username
    if username is None:
        if args.password_stdin:
            raise InvalidInput("--password-stdin: no user name given", "add --username USER")
        username = prompt.ask("User name", "add --username USER --password-stdin")
    if not username or not username.isprintable():
        raise InvalidInput("--username: expected a name")
    return username


def _password(args: argparse.Namespace) -> str:
    from mcp.terminal import prompt

    password = (
        _from_stdin("--password-stdin")
        if args.password_stdin
        else prompt.ask_secret("Password", "pipe it in with --password-stdin")
    )
    if not password:
        raise InvalidInput("the password is empty")
    return password


def _take_token(session: "Session", args: argparse.Namespace) -> int:
    from mcp.client.session import check_token

    if args.username is not None or args.totp is not None:
        raise InvalidInput("--token-stdin: cannot be combined with --username and --totp")
    if not session.config.nodes:
        raise InvalidInput(
            f"{session.config.source} has no [[nodes]] to check the token", "add one with `mcp node add`"
        )
    node = session.config.node(args.node) if args.node is not None else session.config.nodes[0]
    token = check_token(_from_stdin("--token-stdin").strip())
    with session.agent(node, token) as agent:
        account = agent.who_am_i()
    if not args.force:
        _refuse_unknown(session, node, account.user, token)
    session.store_token(token)
    until = f" until {account.expires.ToDatetime():%Y-%m-%d %H:%M} UTC" if account.HasField("expires") else ""
    role = "" if role_of(account) == Role.ADMIN else f" ({role_text(account.role, account.services)})"
    output.line(f"logged in on {node.name} as {account.user}{role}{until}; token stored in {session.config.token_path}")
    _warn(session)
    return 0


def _refuse_unknown(session: "Session", node: "Node", user: str, token: str) -> None:
    """Raise NotReady if other nodes do not know the token: storing it would lock us out of them."""
    from mcp.client import token_check

    others = [other for other in session.config.nodes if other != node]
    if rejected := token_check.ask(lambda other: session.agent(other, token), others).rejected:
        names = ", ".join(sorted(other.name for other in rejected))
        raise NotReady(
            f"{node.name} accepts the token, but {names} does not know it: token not stored",
            f"register it there first: `mcp-agent token add {shell_word(user)} --token-stdin`; "
            "or store it with --force, then run `mcp node provision` for each",
        )


def _from_stdin(option: str) -> str:
    """Read one line from stdin, without its line break; raises InvalidInput."""
    if sys.stdin.isatty():
        raise InvalidInput(f"{option}: stdin is a terminal, which would echo the input", "pipe it in from a file")
    try:
        data = sys.stdin.buffer.read(SECRET_LIMIT + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidInput(f"{option}: stdin is not UTF-8 text") from None
    if len(data) > SECRET_LIMIT or "\n" in text or "\0" in text:
        raise InvalidInput(f"{option}: expected one line on stdin")
    return text


def _warn(session: "Session") -> None:
    if session.token_from_environment():
        output.note("mcp: note: MCP_TOKEN is set and overrides the stored token")


COMMAND = Command(
    "login",
    "log in and store the token",
    run,
    group=Group.ACCOUNT,
    changes=True,
    description="MCIAS issues the token, or `mcp-agent token add` on a node.",
    arguments=(
        argument("-u", "--username", metavar="USER", help="the account (default: prompt)"),
        argument("--totp", metavar="CODE", help="the code of the second factor, if the account uses one"),
        argument("--password-stdin", action="store_true", exclusive=True, help="read the password from stdin"),
        argument(
            "--token-stdin", action="store_true", exclusive=True, help="read a token from stdin and check it on a node"
        ),
        arguments.node("with --token-stdin: the node that checks the token (default: the first)"),
        flag("--force", help="with --token-stdin: store the token even if other nodes do not know it"),
    ),
)
