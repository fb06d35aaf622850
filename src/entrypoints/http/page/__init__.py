"""The page for browsers: plain HTML, CSS and ES modules, served as they lie in ``static/``."""

from entrypoints.http.page.routes import PageRoutes

__all__ = ["PageRoutes"]
