"""The HTTP application: routes, errors, middleware."""
