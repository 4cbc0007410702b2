"""`python -m wisp_local.run`: the attendant, started by `wisp run`."""

import sys

from wisp_local.run.attendant import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
