"""Many hosts on one machine: each a set of namespaces with its own Open vSwitch and its own agent."""
