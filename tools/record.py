#!/usr/bin/env python3
from kvreplay.commands.record import command

raise SystemExit(command())
