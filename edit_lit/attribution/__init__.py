"""Why edits are lost: which part of a fine-tuned model undid each of them."""
