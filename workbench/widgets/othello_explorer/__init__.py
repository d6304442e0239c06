"""An explorer of Othello models: play, read, take apart, ask about one move or many."""

from workbench.widgets.othello_explorer.explorer import OthelloExplorer

__all__ = ["OthelloExplorer"]
