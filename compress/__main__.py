"""python -m compress: the command line, also for torchrun."""

from compress.cli import main

main(prog_name="compress")
