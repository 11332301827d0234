"""Bounds of the watermarks that an agent sends with the logs of several components (see LogsResponse)."""

START = "0001-01-01T00:00:00.000000000Z"  # sorts before every time of a line: anything may come
END = "9999-12-31T23:59:59.999999999Z"  # after every time: nothing older is on its way
