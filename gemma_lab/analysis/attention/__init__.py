"""Attention: head types, sinks, retrieval heads, window coverage. numpy only."""
