"""The API's contract: attributes, defaults, validation and errors, as Neutron's own library says them."""
