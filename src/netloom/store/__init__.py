"""Every object one row; one writer; claims, links, access and the change feed."""
