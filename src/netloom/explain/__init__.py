"""Why a packet does or does not arrive: a walk through the planned state."""
