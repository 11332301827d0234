"""An operator of nodes: a configuration, and ssh that knows the nodes of a fleet and nothing else.

`ssh` reads the home folder of the account, not HOME; so the one that the CLI finds on PATH is told its configuration.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.agents import SYSTEM_PATH, Cli
from tests.zipapps import PYTHON, built
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

WRAPPER = '#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n'


class Operator:
    """A folder with mcp.toml, an ssh configuration and its known hosts, which tests may change."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        """Everything is below `folder`; no node is in mcp.toml yet."""
        self.folder = folder
        self.known_hosts, self.ssh_config = folder / "known_hosts", folder / "ssh_config"
        text = fleet.ssh_config.read_text()
        shutil.copy(fleet.folder / "known_hosts", self.known_hosts)
        self.ssh_config.write_text(text.replace(str(fleet.folder / "known_hosts"), str(self.known_hosts)))
        (folder / "bin").mkdir()
        wrapper = folder / "bin/ssh"
        wrapper.write_text(WRAPPER.format(config=self.ssh_config))
        wrapper.chmod(0o755)
        self.config = folder / "config/mcp.toml"
        self.config.parent.mkdir(mode=0o700)
        self.config.write_text("")
        built("mcp-agent")  # beside the CLI, which looks for it there
        command = (PYTHON, "-I", str(built("mcp")))
        self.cli = Cli(self.config, command, folder, {"PATH": f"{folder}/bin:{SYSTEM_PATH}", "HOME": str(folder)})

    def write_config(self, *nodes: Mapping[str, str]) -> None:
        """Write mcp.toml with these nodes, each the keys and values of its table."""
        tables = ["\n".join(["[[nodes]]", *(f'{key} = "{value}"' for key, value in each.items())]) for each in nodes]
        self.config.write_text("\n\n".join(tables) + "\n")

    def define(self, service: str, node: Node) -> None:
        """Write a definition of a web server on port 8080."""
        folder = self.config.parent / "services"
        folder.mkdir(exist_ok=True)
        (folder / f"{service}.toml").write_text(
            f'name = "{service}"\nnode = "{node.name}"\n\n[[components]]\nname = "{service}"\n'
            'image = "localhost/mcp-web:1.0.0"\nports = ["8080:8080"]\n'
        )
