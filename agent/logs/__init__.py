"""Container logs: a reader for each driver, merged by time, followed across containers."""
