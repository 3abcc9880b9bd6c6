"""Views of training runs and adapters."""
