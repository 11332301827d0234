"""The host tools' own logic, without a host."""

import pytest

from tools.hostlib.machine import why_failed


@pytest.mark.parametrize(
    ("stdout", "stderr", "why"),
    [
        ("", "", "no output"),
        ("Reading\nDone\n", "", "Done"),
        ("Reading\nDone\n", "warning\nno such user\n", "no such user"),
        ("E: no space\nReading\n", "", "E: no space"),
        ("I: Retrieving\nE: no mirror\nI: Cleaning\n", "exit 1\n", "E: no mirror"),
        ("Reading\n", "W: old\nE: first\nE: second\n", "E: first"),
        ("", "\n \n", "no output"),
    ],
)
def test_the_line_that_says_why_a_tool_failed(stdout: str, stderr: str, why: str) -> None:
    assert why_failed(stdout, stderr) == why
