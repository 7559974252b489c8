"""The comparison of guards, and of bringing edits back afterwards."""
