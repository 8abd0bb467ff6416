#!/usr/bin/env python3
from kvreplay.commands.train import command

raise SystemExit(command())
