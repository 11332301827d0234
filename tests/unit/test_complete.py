"""What could stand at the cursor, by argparse's own parsers."""

from pathlib import Path

import pytest

from mcp import main
from mcp.commands.shared import catalogue

SERVICES = {
    "web": '\ufeffcomponents = [{name = "api"}, {name = "db"}, 3]\nnode = "rift"\nwhatever = 1\n',
    "worker": 'components = [{name = "worker"}]\n',
    "broken": "components = [",
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An mcp.toml with two nodes and some definitions, one of them broken."""
    path = tmp_path / "mcp.toml"
    path.write_text('[[nodes]]\nname = "rift"\naddress = "a:1"\n[[nodes]]\nname = "orion"\naddress = "b:1"\n')
    (tmp_path / "services").mkdir()
    for name, text in SERVICES.items():
        (tmp_path / "services" / f"{name}.toml").write_text(text)
    monkeypatch.setenv("MCP_CONFIG", str(path))
    return path


@pytest.fixture
def complete(config: Path, capsys: pytest.CaptureFixture[str]) -> "Complete":
    """The function under test."""
    return Complete(capsys)


class Complete:
    """Candidates for a command line, whose last word is the one at the cursor."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str, asked_by: str = "zsh") -> list[str]:
        assert main.main(["__complete", asked_by, *words]) == 0
        out, err = self.capsys.readouterr()
        assert err == ""
        return [line.partition("\t")[0] for line in out.splitlines()]


def test_commands(complete: Complete) -> None:
    assert complete("") == [command.name for command in catalogue.load_all()]
    assert complete("und") == ["undeploy"]
    assert complete("help", "und") == ["undeploy"]
    assert complete("node", "") == ["list", "add", "remove", "provision"]
    assert complete("--config", "x", "vers") == ["version"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["deploy", ""], ["broken", "web", "worker"]),
        (["edit", "b"], ["broken"]),
        (["push", "x", "w"], ["web/", "worker/"]),
        (["deploy", "we"], ["web", "web/api", "web/db"]),
        (["deploy", "web/d"], ["web/db"]),
        (["deploy", "wo"], ["worker"]),
        (["deploy", "worker/"], ["worker/worker"]),
        (["deploy", "broken/"], []),
        (["deploy", "nope/"], []),
        (["undeploy", "we"], ["web", "web/api", "web/db"]),
        (["rollback", "we"], ["web"]),
        (["service", "export", "w"], ["web", "worker"]),
        (["deploy", "--json", "wo"], ["worker"]),
        (["deploy", "--", "wo"], ["worker"]),
    ],
)
def test_services_and_components(complete: Complete, words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["logs", "--node", ""], ["rift", "orion"]),
        (["logs", "-fn", "5", "--node", "o"], ["orion"]),
        (["logs", "-n5", "--node", "o"], ["orion"]),
        (["logs", "--node=o"], ["--node=orion"]),
        (["logs", "--nope=o"], []),
        (["node", "remove", "r"], ["rift"]),
        (["node", "add", "a", "b:1", "--arch", "a"], ["amd64", "arm64"]),
        (["logs", "-n", ""], []),
        (["agent", "upgrade", "rift", "o"], ["orion"]),
        (["agent", "upgrade", "--deadline", ""], []),
        (["agent", "upgrade", "--from", ""], [":folders"]),
        (["service", "l"], ["list"]),
        (["logs", "--fo"], ["--follow"]),
        (["logs", "--follow", "--fo"], []),
        (["logs", "web", "-f"], ["-f"]),
        (["logs", "--", "--fo"], []),
        (["--config", ""], [":files"]),
        (["service", "export", "--output", "x"], [":folders"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_options_and_their_values(complete: Complete, words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


def test_bash_splits_words_at_the_equals_sign(complete: Complete) -> None:
    assert complete("logs", "--node", "=", "o", asked_by="bash") == ["orion"]
    assert complete("logs", "--node", "=", asked_by="bash") == ["rift", "orion"]
    assert complete("logs", "--node", "=", "rift", "--fo", asked_by="bash") == ["--follow"]


def test_the_configuration_that_the_line_names(complete: Complete, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[[nodes]]\nname = "mars"\naddress = "a:1"\n')
    assert complete("--config", str(other), "ps", "--node", "") == ["mars"]
    assert complete(f"--config={other}", "ps", "--node", "") == ["mars"]


@pytest.mark.parametrize("text", ["", "[", "nodes = 3", "\xff"])
def test_nothing_is_said_where_nothing_is_known(complete: Complete, config: Path, text: str) -> None:
    config.write_text(text, encoding="latin-1")
    assert complete("ps", "--node", "") == []
    config.unlink()
    assert complete("ps", "--node", "") == []
    assert complete("nope", "") == []
    assert complete() == []
    assert main.main(["__complete"]) == 0
