"""The embedded Keystone subset."""
