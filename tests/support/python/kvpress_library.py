"""kvpress in tests: optional, as it is in the package. CI installs it (tests/requirements-kvpress.txt)."""

import importlib.util
import logging
import unittest

needs_kvpress = unittest.skipUnless(importlib.util.find_spec("kvpress"), "kvpress is not installed")

# KVzipPress and others warn of what they cost.
logging.getLogger("kvpress").setLevel(logging.ERROR)
