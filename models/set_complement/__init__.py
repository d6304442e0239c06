"""The set-complement task: predict the uniform distribution over the tokens that are absent from the input."""
