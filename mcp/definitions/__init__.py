"""Read, write, edit and export service definitions."""
