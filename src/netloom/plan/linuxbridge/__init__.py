"""A host without Open vSwitch: Linux bridges, VXLAN devices of the kernel, and nftables on the bridges."""
