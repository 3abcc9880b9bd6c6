"""Views of the comparison of lenses."""
