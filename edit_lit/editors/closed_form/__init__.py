"""Locate-then-edit: one closed form behind MEMIT, ROME, AlphaEdit and their kin."""
