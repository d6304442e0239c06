"""Figures: each is a function of a tidy frame that returns a plotly figure; `export` saves them, nothing here shows them."""
