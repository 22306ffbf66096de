"""The pictures of docs/architectures.md, drawn from what `netloom explain` says in a lab (`make pictures`)."""
