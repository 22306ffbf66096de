"""Pure functions from HostView to HostState."""
