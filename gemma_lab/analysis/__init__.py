"""Numbers from traces, with numpy alone."""
