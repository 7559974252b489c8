"""Many runs: which ones there are, where each is kept, and how they are carried out."""
