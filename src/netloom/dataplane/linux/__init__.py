"""The Linux kernel of a host: namespaces, devices, NAT, and dnsmasq."""
