"""`netloom support-dump`: what a maintainer needs to see, without secrets."""
