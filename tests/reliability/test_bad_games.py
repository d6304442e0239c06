"""Spoilt transcripts and WTHOR files, of kilobytes and of megabytes."""

import struct
from collections import Counter
from collections.abc import Callable
from random import Random

import jaxtyping
import pytest

from models.othello.board import board_of_size
from models.othello.faults import SoundGames
from models.othello.games import generate
from models.othello.transcripts import read_transcripts, write_transcripts
from models.othello.wthor import read_wthor

from ..models.othello.test_transcripts import move_bytes, wthor_bytes
from .held_to_limits import MEGABYTE, SECONDS, held
from .mutations import BYTES, Spoil
from .spoilt_files import counts, spoil_and_read

BOARD = board_of_size(8)


def spoil_bytes_and_read(count: int, kind: str, sound: bytes, read: Callable[[bytes], None]) -> None:
    data = sound

    def spoil(random: Random) -> str:
        nonlocal data
        act = random.choice(BYTES)
        data = act(sound, random)
        return act.__name__

    spoil_and_read(count, kind, spoil, lambda: read(data))


@counts(100)
def test_spoilt_transcripts(count):
    sound = write_transcripts(generate(BOARD, 1, 0, 20), BOARD).encode()

    def read(data: bytes) -> None:
        games = read_transcripts(data.decode("latin-1"), BOARD)
        text = write_transcripts(games.tokens, BOARD)
        assert text.split() == "".join(data.decode("latin-1").split(" ")).lower().split()

    spoil_bytes_and_read(count, "transcripts", sound, read)


@counts(100)
def test_spoilt_wthor_files(count):
    transcripts = write_transcripts(generate(BOARD, 3, 0, 20), BOARD).split()
    sound = wthor_bytes([move_bytes(text) for text in transcripts])

    def read(data: bytes) -> None:
        file = read_wthor(data)
        assert write_transcripts(file.games.tokens, BOARD).split() == transcripts or data[16:] != sound[16:]

    spoil_bytes_and_read(count, "WTHOR files", sound, read)


MEGABYTES = pytest.mark.parametrize("megabytes", [1, pytest.param(20, marks=pytest.mark.slow)])


@pytest.fixture
def untyped():
    """Annotations that are checked keep what they check."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def hold_megabytes(sound: bytes, spoils: tuple[Spoil, ...], read: Callable[[bytes, bool], SoundGames]) -> Counter:
    """Spoils a long file in each way and reads it, bad games refused and skipped, in a few times the sound one's time.

    Its due of memory is its bytes, or the tokens of its games where these are more: 60 and a number each.
    """
    limit = 3 * SECONDS + 5 * max(held(lambda: read(sound, False), 600).seconds for _ in range(2))
    ends, slowest, most = Counter(), 0.0, 0.0
    for spoil in spoils:
        data = spoil(sound, Random(f"megabytes {spoil.__name__}"))
        for skip_bad in (False, True):
            games = list[SoundGames]()
            reading = held(lambda data=data, skip_bad=skip_bad, games=games: games.append(read(data, skip_bad)), limit)
            due = max(len(data), 68 * sum(len(found.tokens) for found in games))
            try:
                reading.require_orderly(due)
            except AssertionError as fault:
                raise AssertionError(f"{spoil.__name__}, skip_bad {skip_bad}: {fault}") from reading.error
            ends["read" if games else type(reading.error).__name__] += 1
            slowest, most = max(slowest, reading.seconds), max(most, reading.memory / len(sound))
    print(f"{len(sound) >> 20} MB: {dict(ends)}, slowest {slowest:.1f} s of {limit:.1f}, at most {most:.1f} of its size")  # noqa: T201
    return ends


def every_game_bad(data: bytes, random: Random) -> bytes:
    return data.replace(b"\n", b"a1\n")


def short_lines(data: bytes, random: Random) -> bytes:
    return data[: len(data) // 50].replace(b"f", b"\n")


def one_line(data: bytes, random: Random) -> bytes:
    return data.replace(b"\n", b"")


def one_spaced_line(data: bytes, random: Random) -> bytes:
    data = one_line(data, random)
    return b" ".join(data[at : at + 2] for at in range(0, len(data), 2))


def blank_lines(data: bytes, random: Random) -> bytes:
    return b"\n" * len(data)


@MEGABYTES
@pytest.mark.usefixtures("untyped")
def test_spoilt_transcripts_of_megabytes(megabytes):
    some = write_transcripts(generate(BOARD, 1, 0, 1000), BOARD).encode()
    sound = some * (megabytes * MEGABYTE // len(some))
    ways = (*BYTES, every_game_bad, short_lines, one_line, one_spaced_line, blank_lines)
    ends = hold_megabytes(sound, ways, lambda data, skip: read_transcripts(data.decode("latin-1"), BOARD, skip_bad=skip))
    assert ends["read"] >= len(ways) and ends["IllegalGame"] >= len(ways) / 2


def noise_for_games(data: bytes, random: Random) -> bytes:
    return data[:16] + random.randbytes(len(data) - 16)


def no_square(data: bytes, random: Random) -> bytes:
    return data[:16] + b"\xff" * (len(data) - 16)


def nothing_played(data: bytes, random: Random) -> bytes:
    return data[:16] + bytes(len(data) - 16)


@MEGABYTES
@pytest.mark.usefixtures("untyped")
def test_spoilt_wthor_files_of_megabytes(megabytes):
    some = wthor_bytes([move_bytes(text) for text in write_transcripts(generate(BOARD, 3, 0, 1000), BOARD).split()])
    times = megabytes * MEGABYTE // len(some)
    sound = some[:4] + struct.pack("<I", 1000 * times) + some[8:16] + some[16:] * times
    ways = (*BYTES, noise_for_games, no_square, nothing_played)
    ends = hold_megabytes(sound, ways, lambda data, skip: read_wthor(data, skip).games)
    assert ends["read"] >= len(ways) / 3 and ends["IllegalGame"] >= 3
