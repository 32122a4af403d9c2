"""``python -m sqcodec``."""

import sys

from sqcodec.cli import main

sys.exit(main())
