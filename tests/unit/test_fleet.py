"""Several nodes at once: those that answer are shown while others are silent."""

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mcp.client import fleet
from mcp.client.patience import Patience
from mcp.commands.shared import nodes
from mcp.config.configuration import Node
from mcp.shared.errors import Unauthenticated, Unreachable
from mcp.terminal import output

FLEET = [Node(name, f"{name}:9444") for name in ("rift", "bob", "amy")]


class FakeAgent:
    """An agent that answers with the name of its node, once `answer` lets it."""

    def __init__(self, node: Node, answer: Callable[[str], str]) -> None:
        self.node, self._answer = node, answer
        self.closed = False

    def __enter__(self) -> "FakeAgent":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True

    def ask(self) -> str:
        return self._answer(self.node.name)


def session(answer: Callable[[str], str]) -> Any:
    return SimpleNamespace(token="t", ca=b"", patience=Patience(10, 10), agent=lambda node: FakeAgent(node, answer))


def show(answer: Callable[[str], str], *, as_json: bool = False) -> int:
    listing = nodes.Listing(("node", "name"), nodes.rows_of(("node", "name"), "name", lambda value: [{"name": value}]))
    return nodes.finish(
        nodes.show_all(session(answer), FLEET, lambda agent: agent.ask(), listing, as_json=as_json)  # type: ignore[attr-defined]  # a fake
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WORTH_SAYING", 0.05)


class Recorded(output.Waiting):
    """A waiting line that lets the silent node answer, once it is shown, and remembers what was printed by then."""

    def __init__(self, capsys: pytest.CaptureFixture[str], over: threading.Event) -> None:
        super().__init__(shown=False)
        self.before: list[tuple[str, str]] = []
        self._capsys, self._over = capsys, over

    def show(self, text: str) -> None:
        self.before.append((text, self._capsys.readouterr().out))
        if text == "waiting for rift (up to 10 s)…":
            self._over.set()


@pytest.fixture
def over() -> threading.Event:
    """Set once the silent node may answer."""
    return threading.Event()


@pytest.mark.usefixtures("impatient")
def test_rows_of_nodes_that_answer_do_not_wait_for_a_silent_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], over: threading.Event
) -> None:
    line = Recorded(capsys, over)
    monkeypatch.setattr(output, "waiting", lambda: line)

    def answer(name: str) -> str:
        if name == "rift":
            over.wait(60)
        return f"i am {name}"

    assert show(answer) == 0
    rows = "".join(printed for _text, printed in line.before).splitlines()
    assert rows[0] == "NODE  NAME"
    assert sorted(rows[1:]) == ["amy   i am amy", "bob   i am bob"]
    assert capsys.readouterr().out == "rift  i am rift\n"


def test_errors_come_last_and_all_in_order_if_nobody_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(name: str) -> str:
        if name == "bob":
            raise Unreachable("bob:9444 refuses the connection", node="bob")
        return "here"

    assert show(answer) == 4
    assert capsys.readouterr() == (
        "NODE  NAME\nrift  here\nbob   unreachable\namy   here\n",
        "mcp: bob: bob:9444 refuses the connection\n",
    )


@pytest.mark.usefixtures("impatient")
def test_json_is_one_document_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], over: threading.Event
) -> None:
    line = Recorded(capsys, over)
    monkeypatch.setattr(output, "waiting", lambda: line)

    def answer(name: str) -> str:
        assert name != "rift" or over.wait(60)
        return name

    assert show(answer, as_json=True) == 0
    assert [printed for _text, printed in line.before] == [""] * len(line.before)
    assert [row["node"] for row in json.loads(capsys.readouterr().out)] == ["rift", "bob", "amy"]


def test_a_token_that_all_reject_is_one_error() -> None:
    def answer(_name: str) -> str:
        raise Unauthenticated("expired token")

    with pytest.raises(Unauthenticated, match="expired token"):
        fleet.ask_all(session(answer), FLEET, lambda agent: agent.ask())  # type: ignore[attr-defined]  # a fake
