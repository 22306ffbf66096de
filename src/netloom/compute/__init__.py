"""The embedded Nova subset."""
