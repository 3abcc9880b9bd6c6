"""Shared drawing: colors, fonts, figures, HTML and units."""
