"""The metadata service of instances, 169.254.169.254: answers and listener."""
