"""The module parses, evaluates, and says of the unit what deploy/mcp-agent.service says."""

import configparser
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mcp.shared.resources import ROOT

MODULE = ROOT / "deploy/nixos/mcp-agent.nix"
STANDIN = Path(__file__).parent / "standin.nix"
NIX = ["nix-instantiate", "--store", "dummy://"]  # nothing is built, and nothing is written


def nix(*arguments: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which(NIX[0]) is None:
        pytest.fail("nix-instantiate is missing: run tools/host.py ensure --for test", pytrace=False)
    return subprocess.run([*NIX, *arguments], capture_output=True, text=True, timeout=60, check=False)


def evaluated(settings: str) -> Any:
    expression = f"import {STANDIN} {{ module = import {MODULE}; settings = {{ {settings} }}; }}"
    done = nix("--eval", "--strict", "--json", "--expr", expression)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def unit() -> dict[str, list[tuple[str, str]]]:
    """The sections of deploy/mcp-agent.service, each its keys and values, for UID 850."""
    parser = configparser.RawConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # keys keep their capitals
    parser.read_string((ROOT / "deploy/mcp-agent.service").read_text().replace("@UID@", "850"))
    return {name: parser.items(name) for name in parser.sections()}


def test_it_parses() -> None:
    done = nix("--parse", str(MODULE))
    assert done.returncode == 0, done.stderr


def test_it_does_nothing_unless_enabled() -> None:
    assert evaluated("") is None


def test_its_unit_is_that_of_debian() -> None:
    service = evaluated("enable = true;")["systemd"]["services"]["mcp-agent"]
    wanted = unit()
    ours = {key: str(value) for key, value in service["serviceConfig"].items()}
    ours["Environment"] = f"XDG_RUNTIME_DIR={service['environment']['XDG_RUNTIME_DIR']}"
    ours["ExecStart"] = ours["ExecStart"].replace("/nix/store/python3/bin/", "/usr/bin/")
    assert ours == dict(wanted["Service"])
    head = {
        "Description": service["description"],
        "Wants": " ".join(service["wants"]),
        "After": " ".join(service["after"]),
        **service["unitConfig"],
    }
    assert head == dict(wanted["Unit"])
    assert service["wantedBy"] == [dict(wanted["Install"])["WantedBy"]]


def test_native_modules_find_their_library_and_podman_its_wrappers() -> None:
    service = evaluated("enable = true;")["systemd"]["services"]["mcp-agent"]
    assert service["environment"]["LD_LIBRARY_PATH"] == "/nix/store/gcc-lib/lib:/nix/store/systemd/lib"
    assert service["path"][0] == "/run/wrappers"
    assert service["serviceConfig"]["ExecStart"].startswith("/nix/store/python3/bin/python3 -I ")


def test_the_account_is_what_podman_needs() -> None:
    made = evaluated("enable = true; uid = 4321; subidStart = 200000;")
    user = made["users"]["users"]["mcp"]
    assert (user["uid"], made["users"]["groups"]["mcp"]["gid"], user["linger"]) == (4321, 4321, True)
    assert (user["home"], user["extraGroups"]) == ("/srv/mcp", ["systemd-journal"])
    assert user["subUidRanges"] == [{"startUid": 200000, "count": 65536}]
    assert user["subGidRanges"] == [{"startGid": 200000, "count": 65536}]
    assert made["systemd"]["services"]["mcp-agent"]["environment"]["XDG_RUNTIME_DIR"] == "/run/user/4321"
    assert made["systemd"]["tmpfiles"]["rules"] == [
        "d /srv 1775 root mcp -",
        "d /srv/mcp 0750 mcp mcp -",
        "d /srv/mcp/certs 0750 mcp mcp -",
    ]


def test_the_firewall_is_opened_only_on_request() -> None:
    assert evaluated("enable = true;")["networking"]["firewall"]["allowedTCPPorts"] is None
    opened = evaluated("enable = true; openFirewall = true; port = 9555;")
    assert opened["networking"]["firewall"]["allowedTCPPorts"] == [9555]


@pytest.mark.parametrize(
    "wrong", ["uid = 0;", "openFirewall = true; port = 70000;", 'openFirewall = "yes";', "uids = 850;"]
)
def test_wrong_settings_are_refused(wrong: str) -> None:
    expression = f"import {STANDIN} {{ module = import {MODULE}; settings = {{ enable = true; {wrong} }}; }}"
    done = nix("--eval", "--strict", "--json", "--expr", expression)
    assert done.returncode != 0
    assert "wrong type" in done.stderr or "unknown option" in done.stderr
