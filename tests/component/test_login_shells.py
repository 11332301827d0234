"""The command lines that the CLI gives to ssh, read by the login shells that operators have."""

import subprocess

import pytest

from mcp.nodes.ssh import Frame


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "tcsh", "fish"])
def test_every_login_shell_reads_the_command_line_alike(shell: str) -> None:
    """With whatever csh, fish and sh quote differently: `!`, line breaks, quotes, backslashes, variables, globs."""
    words = ["!x", "a\nb", "it's", '"', "\\'", "\\\\", "$HOME", "*", "~", "", "x" * 20000]
    frame = Frame()
    argv = ["printf", "<%s>", *words]
    done = subprocess.run([shell, "-c", frame.command(argv)], capture_output=True, check=True)
    assert frame.inner(done.stdout).decode() == "".join(f"<{word}>" for word in words)
    done = subprocess.run(
        [shell, "-c", frame.command(["sh", "-c", "cat; exit 5"])], input=b"in", capture_output=True, check=False
    )
    assert (done.returncode, frame.inner(done.stdout), frame.has_ended(done.stdout)) == (5, b"in", True)
