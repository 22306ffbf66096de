"""The embedded Compute API (Nova): routes and forms."""
