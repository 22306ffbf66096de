"""The rules of the Networking API, one module per noun."""
