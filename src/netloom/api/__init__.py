"""HTTP: routing, authentication, policy, query language, serialisation."""
