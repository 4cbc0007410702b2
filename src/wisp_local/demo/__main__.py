"""`python -m wisp_local.demo`: the lab's inside, started by its outside."""

import sys

from wisp_local.demo.inside import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
