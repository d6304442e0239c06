"""Othello: rules, random games, labels and files of games, on the CPU and on any torch device."""
