"""Surveys: a corpus traced into partitioned Parquet, in this process or on Ray, resumable at any moment."""
