"""Running tools: functions and MCP servers, called for a model within limits."""
