"""Views of expert routing."""
