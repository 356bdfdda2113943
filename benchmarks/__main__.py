"""`python -m benchmarks` is `python benchmarks/peers.py`."""

import sys

from benchmarks.peers import main

sys.exit(main())
