"""The Networking API: routes, nouns, query language, policy."""
