"""Views of traces, tokens, edits and the logit lens."""
