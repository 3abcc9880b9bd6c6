"""The expert-routing explorer."""
