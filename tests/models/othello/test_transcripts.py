"""Games as people keep them: squares, transcripts and WTHOR files."""

import pickle
import re
from inspect import unwrap

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.othello import faults, transcripts
from models.othello.board import SIZES, board_of_size
from models.othello.faults import IllegalGame
from models.othello.games import generate, replay
from models.othello.notation import parse_square, square_text
from models.othello.transcripts import read_transcripts, write_transcripts
from models.othello.wthor import read_wthor

from ...reliability.held_to_limits import MEGABYTE, held

BOARD = board_of_size(8)
SHORTEST = "e6f6c4c5c6d6g6e3e2"  # a whole game of nine moves, squares 44, 45, 26, 34, 42, 43, 46, 20, 12


@pytest.mark.parametrize("notation", ["standard", "transposed"])
@pytest.mark.parametrize("size", SIZES)
def test_squares_go_round(size, notation):
    board = board_of_size(size)
    texts = [square_text(square, board, notation) for square in range(board.squares)]
    assert [parse_square(text, board, notation) for text in texts] == list(range(board.squares))
    assert [parse_square(text.upper(), board, notation) for text in texts] == list(range(board.squares))
    assert len(set(texts)) == board.squares


def test_the_two_notations():
    assert (square_text(37, BOARD), square_text(37, BOARD, "transposed")) == ("f5", "e6")
    assert parse_square("d5", BOARD, "transposed") == 28  # as the published data have it
    assert parse_square("d5", BOARD) == 35


@pytest.mark.parametrize("text", ["", "f", "f55", "i1", "a9", "a0", "55", "f²", "-1"])
def test_text_that_is_no_square_is_refused(text):
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is no square of the 8x8 board; expected a1 to h8")):
        parse_square(text, BOARD)


def test_squares_off_the_board_are_refused():
    with pytest.raises(ValueError, match="square 36 is not on the 6x6 board; expected 0 .. 35"):
        square_text(36, board_of_size(6))
    with pytest.raises(ValueError, match="'g1' is no square of the 6x6 board; expected a1 to f6"):
        parse_square("g1", board_of_size(6))
    with pytest.raises(ValueError, match="notation 'algebraic' is unknown; choose one of standard, transposed"):
        unwrap(square_text)(0, BOARD, "algebraic")


@given(st.integers(0, 2**32), st.sampled_from(SIZES), st.sampled_from(["standard", "transposed"]))
def test_transcripts_go_round(seed, size, notation):
    board = board_of_size(size)
    tokens = generate(board, seed, 0, 3)
    read = read_transcripts(write_transcripts(tokens, board, notation), board, notation)
    assert torch.equal(read.tokens, tokens) and read.kept.tolist() == [0, 1, 2] and read.skipped == ()


def test_the_other_notation_is_the_mirrored_game():
    tokens = generate(BOARD, 1, 0, 50)
    mirrored = read_transcripts(write_transcripts(tokens, BOARD), BOARD, "transposed").tokens
    squares = torch.tensor(BOARD.square_of_token)
    original, image = squares[tokens.long()], squares[mirrored.long()]
    assert torch.equal(torch.where(tokens > 0, 8 * (original % 8) + original // 8, -1), image)


def test_transcripts_may_have_spaces_capitals_and_blank_lines():
    spaced = " ".join(SHORTEST[at : at + 2] for at in range(0, len(SHORTEST), 2)).upper()
    read = read_transcripts(f"\n{SHORTEST}\n\n  {spaced}  \n", BOARD)
    assert torch.equal(read.tokens[0], read.tokens[1]) and read.tokens.shape == (2, 60)
    assert write_transcripts(read.tokens, BOARD) == f"{SHORTEST}\n" * 2


FAULTS = {
    "illegal move": ("f5d6c3e7", 4, "e7 (token 49) is illegal for white, it flips no disc"),
    "illegal first move": ("e3", 1, "e3 (token 21) is illegal for black, it flips no disc"),
    "taken square": ("f5d6f5", 3, "f5 (token 34) is illegal for black, the square is taken"),
    "centre": ("f5d5", 2, "square 35 is one of the four of the centre, which hold discs from the start: no move"),
    "cut off": (SHORTEST[:-2], 9, "the game is cut off, there is a legal move"),
    "after the end": (SHORTEST + "a1", 10, "a1 (token 1) comes after the end of the game, neither side has a legal move"),
    "half a move": (SHORTEST + "a", 10, "'a' is no square of the 8x8 board; expected a1 to h8"),
    "pass": ("f5--", 2, "'--' is no square of the 8x8 board; expected a1 to h8"),
    "illegal, then unreadable": ("f5e3z9", 2, "e3 (token 21) is illegal for white, it flips no disc"),
    "illegal, then too long": (
        SHORTEST * 7,
        10,
        "e6 (token 41) comes after the end of the game, neither side has a legal move",
    ),
}


@pytest.mark.parametrize(("text", "move", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_a_bad_transcript_is_named_or_skipped(text, move, reason):
    lines = f"{SHORTEST}\n\n{text}\n{SHORTEST}\n"
    with pytest.raises(IllegalGame) as raised:
        read_transcripts(lines, BOARD)
    assert (raised.value.game, raised.value.move, raised.value.reason) == ("line 3", move, reason)
    assert str(raised.value).startswith(f"line 3, move {move}: {reason}; ") and "--skip-bad" in str(raised.value)
    read = read_transcripts(lines, BOARD, skip_bad=True)
    assert write_transcripts(read.tokens, BOARD) == f"{SHORTEST}\n" * 2
    assert read.kept.tolist() == [0, 2] and [str(fault) for fault in read.skipped] == [str(raised.value)]
    assert read.left_out == 1


def test_what_follows_a_line_that_cannot_be_read_is_not_replayed(monkeypatch):
    replayed = []
    monkeypatch.setattr(faults, "replay", lambda board, tokens: replayed.append(len(tokens)) or replay(board, tokens))
    text = f"{SHORTEST}\n\nx\n" + "x\n" * 1_000
    with pytest.raises(IllegalGame, match="line 3, move 1: 'x' is no square"):
        read_transcripts(text, BOARD)
    with pytest.raises(IllegalGame, match="line 1, move 1: e3 .token 21. is illegal for black"):
        read_transcripts(f"e3\n{text}", BOARD)
    assert replayed == [2, 3]
    read = read_transcripts(text, BOARD, skip_bad=True)
    assert (read.left_out, len(read.skipped)) == (1_001, faults.NAMED)


@pytest.mark.parametrize(("line", "kept"), [("a", 0), ("f5d6c3", 0), (SHORTEST, 100_000)])
def test_a_text_of_many_short_games_takes_little_memory(line, kept):
    read_transcripts(f"{line}\n", BOARD, skip_bad=True)
    text, games = f"{line}\n" * 100_000, []
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        reading = held(lambda: games.append(read_transcripts(text, BOARD, skip_bad=True)))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert reading.error is None and reading.memory < 120 * MEGABYTE  # replayed at once they take 270
    assert (len(games[0].tokens), games[0].left_out) == (kept, 100_000 - kept)


def test_bad_games_are_named_across_blocks():
    text = f"{SHORTEST}\n" * faults.BLOCK + "a\n" + f"{SHORTEST}\nf5d6f5\n" * 2
    read = read_transcripts(text, BOARD, skip_bad=True)
    found = [(fault.game, fault.move) for fault in read.skipped]
    assert found == [(f"line {faults.BLOCK + line}", move) for line, move in ((1, 1), (3, 3), (5, 3))]
    assert read.kept[faults.BLOCK :].tolist() == [faults.BLOCK + 1, faults.BLOCK + 3]
    assert str(pickle.loads(pickle.dumps(read.skipped[0]))) == str(read.skipped[0])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_lines_are_numbered_across_pieces(monkeypatch, end):
    monkeypatch.setattr(transcripts, "PIECE", 50)
    lines = [SHORTEST, "", SHORTEST, "x", *[SHORTEST] * 10, "y"]
    read = read_transcripts(end.join(lines), BOARD, skip_bad=True)
    assert ([fault.game for fault in read.skipped], len(read.tokens)) == (["line 4", "line 15"], 12)


def test_nothing_to_read():
    read = read_transcripts("\n", BOARD)
    assert read.tokens.shape == (0, 60) and read.skipped == ()


def wthor_bytes(games: list[list[int]], side: int = 8, problems: int = 0, year: int = 2016) -> bytes:
    """A `.wtb` file, byte by byte from the layout of the federation; each game is its move bytes."""
    data = bytes([20, 17, 3, 25])  # written on 25 March 2017
    data += bytes([len(games) % 256, len(games) // 256, 0, 0]) + bytes([0, 0])
    data += bytes([year % 256, year // 256]) + bytes([side, problems, 24, 0])
    for number, moves in enumerate(games):
        data += bytes([number % 256, number // 256, 7, 1, 9, 0])  # tournament, players 263 and 9
        data += bytes([40, 33]) + bytes(moves) + bytes(60 - len(moves))
    return data


def move_bytes(text: str) -> list[int]:
    return [10 * int(text[at + 1]) + "abcdefgh".index(text[at]) + 1 for at in range(0, len(text), 2)]


def test_wthor_files_are_read_byte_by_byte():
    assert move_bytes("f5d6c3") == [56, 64, 33]
    transcripts = write_transcripts(generate(BOARD, 3, 0, 300), BOARD).split()
    file = read_wthor(wthor_bytes([move_bytes(text) for text in [SHORTEST, *transcripts]]))
    assert write_transcripts(file.games.tokens, BOARD).split() == [SHORTEST, *transcripts]
    assert (file.year, file.depth, len(file.records)) == (2016, 24, 301)
    last = file.records[-1]
    assert [int(last[name]) for name in ("tournament", "black_player", "white_player", "black_score", "theoretical_score")] == [
        *(300, 263, 9),
        *(40, 33),
    ]


def test_bad_wthor_games_are_named_or_skipped():
    sound, illegal, cut_off, unreadable = SHORTEST, SHORTEST[:4] + "a1", SHORTEST[:-2], SHORTEST
    games = [move_bytes(text) for text in (sound, illegal, cut_off, unreadable, sound)]
    games[3][2] = 99
    with pytest.raises(IllegalGame, match="game 2, move 3: a1 .token 1. is illegal for black, it flips no disc"):
        read_wthor(wthor_bytes(games))
    file = read_wthor(wthor_bytes(games), skip_bad=True)
    assert file.games.kept.tolist() == [0, 4] and file.records["tournament"].tolist() == [0, 4]
    assert [(fault.game, fault.move) for fault in file.games.skipped] == [("game 2", 3), ("game 3", 9), ("game 4", 3)]
    assert file.games.skipped[2].reason == "byte 99 names no square that can be played (10 * row + column)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "WTHOR file of 0 bytes: expected a header of 16; fetch the file again"),
        (wthor_bytes([move_bytes(SHORTEST)])[:-1], "WTHOR file of 83 bytes: 1 games take 84; fetch the file again"),
        (wthor_bytes([move_bytes(SHORTEST)]) + b"\0", "WTHOR file of 85 bytes: 1 games take 84"),
        (wthor_bytes([], side=10), "WTHOR file of games on a board of side 10: only 8x8 games can be read"),
        (wthor_bytes([], problems=1), "WTHOR file of endgame problems: only 8x8 games can be read"),
    ],
)
def test_files_that_are_no_wthor_games_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read_wthor(data, skip_bad=True)


def test_an_empty_wthor_file():
    assert read_wthor(wthor_bytes([], side=0)).games.tokens.shape == (0, 60)


def test_what_is_read_can_be_replayed_to_the_end():
    text = write_transcripts(generate(BOARD, 6, 0, 20), BOARD)
    tokens = read_transcripts(text, BOARD).tokens
    played = replay(BOARD, tokens)
    assert torch.equal(played.played, played.lengths)
    assert np.all(played.legal.numpy()[:, -1] == 0)
