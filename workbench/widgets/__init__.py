"""Interactive pictures for notebooks: each a pure function of its state to a figure, in a thin shell of controls."""
