"""The embedded Image API (Glance): routes and forms."""
