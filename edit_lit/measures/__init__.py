"""Asking a model about facts, and scoring what it answers."""
