"""Work that time starts: timeouts, dead agents, retention."""
