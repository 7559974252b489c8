"""Editing by gradient descent on the targets."""
