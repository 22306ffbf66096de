"""The plan's part for Open vSwitch: bridges, ports and flows."""
