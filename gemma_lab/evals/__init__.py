"""Held-out questions with checkable answers, put to any Gemma 4, mini or real, and graded."""
