"""Self-contained HTML pages of results: no network, everything escaped, readable in print and in the dark."""
