"""The search for target values: hidden states at the subject that make the model say the new object."""
