"""Adapters: one folder a technology; each translates foreign errors at its edge."""
