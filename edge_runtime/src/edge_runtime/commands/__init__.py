"""The subcommands of `edge-runtime`, found by their file names.

A module NAME gives `edge-runtime NAME` by three names:

HELP       one line
arguments  adds its own arguments to an argparse parser
run        does the work; returns what --json prints, what is printed without, and the exit code

They import what is heavy inside `run`, so that `edge-runtime --help` stays quick.
"""
