"""What is studied: tasks, the model that trains, its TransformerLens form, checkpoints and importers."""
