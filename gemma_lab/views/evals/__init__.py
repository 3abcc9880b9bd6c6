"""Views of check-ups, needle tests and training logs."""
