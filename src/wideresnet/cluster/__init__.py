"""The same work on a cluster: bulk work on Ray Data, and the service on Ray Serve."""
