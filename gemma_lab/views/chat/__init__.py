"""Views of replies, prompts and media."""
