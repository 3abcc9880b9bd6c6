"""Plans as text, tables and figures."""
