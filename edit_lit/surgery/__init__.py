"""What erasers and rewriters share: changing a trained model's weights at once, and asking it before and after."""
