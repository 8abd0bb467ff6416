#!/usr/bin/env python3
from kvreplay.commands.validate import command

raise SystemExit(command())
