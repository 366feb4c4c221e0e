"""Bulk jobs on Ray Data, and the service on Ray Serve (extra ``ray``)."""
