"""Edit a language model, fine-tune it, and watch which edits survive."""
