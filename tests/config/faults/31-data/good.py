"""A policy without handlers."""
