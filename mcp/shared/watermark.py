"""Bounds of the watermarks that an agent sends with logs of several components (see LogsResponse)."""

START = "0001-01-01T00:00:00.000000000Z"  # sorts before the time of any line: any line may follow
END = "9999-12-31T23:59:59.999999999Z"  # sorts after any time: no older line follows
