"""The reconcile loop of one host, its status and its link to the server."""
