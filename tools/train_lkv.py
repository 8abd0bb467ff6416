#!/usr/bin/env python3
from kvreplay.train import command

raise SystemExit(command())
