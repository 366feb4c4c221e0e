"""HTTP transport: middleware, limits, request bodies, errors, static files."""
