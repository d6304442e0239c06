"""What a user does: train, evaluate, compare, ablate, draw."""
