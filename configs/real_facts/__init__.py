"""A small language model that knows real facts; README.md beside this file says how it is made."""
