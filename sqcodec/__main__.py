"""`python -m sqcodec` is the command line."""

import sys

from sqcodec.cli import main

if __name__ == "__main__":
    sys.exit(main())
