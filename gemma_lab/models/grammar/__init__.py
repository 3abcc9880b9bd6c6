"""Grammars that bind an answer: JSON Schema, Gemma 4's call syntax, and what they overruled."""
