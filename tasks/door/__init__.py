"""The read-only door for programs: views of ``api`` as JSON, and as the tools of an MCP server. Loopback only."""
