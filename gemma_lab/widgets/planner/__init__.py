"""The planner widget."""
