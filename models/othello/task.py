"""The Othello task as a stream of sequences and a legality mask."""

import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from models.othello import labels
from models.othello.board import PAD, board_of_size
from models.othello.faults import refuse_illegal
from models.othello.games import Keep, Replay, generate, replay
from models.othello.notation import square_text
from models.token_input import require_token_matrix


class OthelloTask:
    """Predict the legal moves of a random game from the moves so far.

    A sequence is a game in which every move is uniform over the legal ones, so the right prediction is uniform over them. On
    8x8 the tokens are 1 .. 60 (squares in order, without the four of the centre) and 0 pads the end of a short game; passes
    have no token. Black, the first mover, holds squares 28 and 35. (Conventions of OthelloGPT, arXiv 2210.13382.)
    """

    name = "othello"
    pad: int | None = PAD

    def __init__(self, board: int = 8, keep: Keep = "all"):
        """`board` is the side of the board, 4, 6 or 8; `keep` is "all", or "full" for games that fill the board only."""
        self.board = board_of_size(board)
        self.keep = keep
        self.vocab = self.board.vocab
        self.longest = self.board.moves - 1

    def sequences(
        self, seed: int, start: int, count: int, device: torch.device | str = "cpu"
    ) -> Int64[Tensor, "count longest_plus_1"]:
        """Games start .. start + count - 1 of stream `seed`, padded with 0: a pure function of (seed, index)."""
        return generate(self.board, seed, start, count, device, self.keep).long()

    def replay(self, tokens: Int64[Tensor, "batch position"]) -> Replay:
        """The board, side to move and legal moves after every token; `labels.py` turns them into targets of probes.

        Raises `IllegalGame`, a ValueError, naming the sequence (from 0), the move number (from 1), the move and the reason.
        """
        require_token_matrix(tokens)
        played = replay(self.board, tokens)
        refuse_illegal(played, "sequence", "give the first moves of legal games, padded with 0 at the end only")
        return played

    def legal(self, tokens: Int64[Tensor, "batch position"]) -> Bool[Tensor, "batch position vocab"]:
        """True where a move is legal after the prefix ending at that position; all False after the end of a game.

        Raises as `replay` does.
        """
        return labels.legal_tokens(self.replay(tokens))

    def to_move(self, tokens: Int64[Tensor, "batch position"]) -> Int8[Tensor, "batch position"]:
        """+1 where black truly moves next, -1 where white does, passes resolved; raises as `replay` does."""
        return self.replay(tokens).to_move

    def board_state(
        self, tokens: Int64[Tensor, "batch position"], frame: labels.Frame = "to_move"
    ) -> Int8[Tensor, "batch position square"]:
        """What is on each square after each move: 0, 1 or 2, named by `labels.STATES[frame]`; raises as `replay` does."""
        return labels.board_state(self.replay(tokens), frame)

    def token_label(self, token: int) -> str:
        """The square in standard notation, letter = column: `f5`; `pad` for the padding."""
        return "pad" if token == PAD else square_text(self.board.square(token), self.board)
