"""Command lines: argparse whose errors are one line."""

import argparse
import sys
from typing import NoReturn

from mcp.shared.errors import EXIT_USAGE, one_line


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says in one line what is wrong and where to look."""

    def error(self, message: str) -> NoReturn:
        """End with EXIT_USAGE."""
        program = self.prog.split()[0]
        sys.stderr.write(f"{program}: {one_line(message)}; see {self.prog} --help\n")
        sys.exit(EXIT_USAGE)
