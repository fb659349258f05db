"""``python -m twinbrain`` is the command ``twinbrain``."""

import sys

from twinbrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
