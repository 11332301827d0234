"""Clocks that tests set; the machine's own stay as they are."""


class SetClock:
    """Stands in for the module `time`: a wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        """Both go on only by `forward`."""
        self._passed = 0.0
        self._set = 1_795_342_766.0  # 2026-11-22T10:19:26Z

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def set(self, seconds: float) -> None:
        """Set the wall clock forward, or back where negative."""
        self._set += seconds

    def time(self) -> float:
        """The wall clock."""
        return self._set + self._passed

    def monotonic(self) -> float:
        """The clock that nobody sets."""
        return 1000.0 + self._passed
