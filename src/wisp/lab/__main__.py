"""`python -m wisp.lab`: the lab's inside, started by its outside."""

import sys

from wisp.lab.inside import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
