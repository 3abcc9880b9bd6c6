"""Commands for maintainers, run from a checkout and not part of the wheel."""
