#!/usr/bin/env python3
from kvreplay.record import command

raise SystemExit(command())
