"""Analyses of attention: head types, sinks, retrieval heads, window coverage. numpy only."""
