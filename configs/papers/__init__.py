"""The grids of two published studies, and what they cost."""
