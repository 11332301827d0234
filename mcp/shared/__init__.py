"""Used by both programs."""
