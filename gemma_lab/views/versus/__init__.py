"""Comparisons of two models: tables and figures."""
