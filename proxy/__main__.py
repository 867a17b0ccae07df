"""`python -m proxy` is `kinesis-proxy`."""

import sys

from proxy.cli import main

sys.exit(main())
