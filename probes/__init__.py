"""What is measured inside a model."""
