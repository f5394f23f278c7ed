"""`python -m kumotwist SUBCOMMAND`."""

from kumotwist.cli.main import main

if __name__ == "__main__":
    main(prog_name="kumotwist")
