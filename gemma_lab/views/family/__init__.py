"""Views of the model family, published figures and the system report."""
