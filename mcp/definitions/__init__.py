"""Service definitions: read, write, edit and export."""
