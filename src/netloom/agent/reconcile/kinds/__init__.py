"""The kinds of objects on a host of Open vSwitch, one module for each subject. `agent/tracker.py` puts them together."""
