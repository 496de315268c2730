"""The roof: memories and prompt optimization served over HTTP and MCP, every tenant in a namespace of its own."""
