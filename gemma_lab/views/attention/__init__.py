"""Views of attention patterns and heads."""
