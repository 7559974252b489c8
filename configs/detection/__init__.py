"""What the verb ``detect`` finds in models that were edited and then fine-tuned."""
