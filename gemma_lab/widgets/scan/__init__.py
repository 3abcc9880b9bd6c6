"""The page of a scan, with the trace behind it."""
