"""`python -m minivl` is `minivl`; `torchrun -m minivl train ...` trains on several GPUs."""

import sys

from minivl.cli import main

sys.exit(main())
