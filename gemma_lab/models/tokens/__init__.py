"""The token table of a trace: graphemes, scripts, roles and media positions. No torch."""
