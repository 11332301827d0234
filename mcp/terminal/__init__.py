"""Print to and read from the terminal."""
