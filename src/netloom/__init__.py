"""Netloom: OpenStack networking that one person can run, read and trust."""

__version__ = "0.1.0"
