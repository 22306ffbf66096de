"""The embedded Glance subset."""
