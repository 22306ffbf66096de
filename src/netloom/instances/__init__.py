"""Instances of a host: their images, disks, limits, and starting and ending them."""
