"""The combined explorer: routing, attention and logit lens of one token."""
