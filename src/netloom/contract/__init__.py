"""The API contract: attribute maps, validation, error types and their HTTP codes."""
