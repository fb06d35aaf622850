"""Workflows that come with the service, built on the ports alone."""
