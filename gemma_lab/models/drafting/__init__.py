"""Drafters: small models that propose tokens which the model verifies."""
