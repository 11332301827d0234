"""Container logs: readers for each driver, merged by time, followed across containers."""
