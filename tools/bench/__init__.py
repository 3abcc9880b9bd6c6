"""The benchmarks' results and the table made of them: ``python -m tools.bench``, for a checkout."""
