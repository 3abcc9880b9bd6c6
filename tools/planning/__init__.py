"""Fit the speed model to the measured runs and write its errors into the documentation."""
