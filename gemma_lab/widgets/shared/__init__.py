"""Shared parts of the widgets: bundling, wire format, images, saved pages."""
