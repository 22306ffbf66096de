"""Netloom against real Neutron: the same requests, the same answers."""
