"""Query for the logs of one node."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LogsQuery:
    """Query for the logs of one node; times are passed on as text.

    `targets` are (service, component), an empty component meaning all; `every` selects everything on the node. `tail` 0
    is all, a negative number none.
    """

    targets: tuple[tuple[str, str], ...]
    every: bool = False
    tail: int = 0
    follow: bool = False
    timestamps: bool = False
    since: str = ""
    until: str = ""
    grep: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore_case: bool = False
    previous: bool = False
