"""Pure functions from results to text, HTML or figures."""
