"""`python -m gavel …`, and the command `gavel` of the package: the program itself, with the same arguments."""

import os
import sys

from gavel.program import ProgramNotFound, find_program


def main() -> None:
    try:
        program = find_program()
    except ProgramNotFound as error:
        sys.exit(f"error: {error}")
    # Takes this process's place, so that signals, terminals and exit statuses are the program's own.
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
