"""What agents talk to: facts, the stream of their host, status."""
