"""The way of a packet through the plans of the hosts."""
