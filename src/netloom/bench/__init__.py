"""`netloom bench`: measurements of the API and of a lab."""
