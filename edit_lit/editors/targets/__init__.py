"""The search for target values: hidden states that make a model say the new object."""
