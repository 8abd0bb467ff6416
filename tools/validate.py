#!/usr/bin/env python3
from kvreplay.validate import command

raise SystemExit(command())
