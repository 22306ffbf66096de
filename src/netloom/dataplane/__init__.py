"""The only code that touches a kernel, Open vSwitch or a process."""
