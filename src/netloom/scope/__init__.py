"""Which objects a host needs, and the stream that carries them."""
