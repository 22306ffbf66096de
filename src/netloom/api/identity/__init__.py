"""The embedded Identity API (Keystone): routes and forms."""
