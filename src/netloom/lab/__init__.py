"""Many hosts on one machine, faults, cleaning up."""
