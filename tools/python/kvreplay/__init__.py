"""The Python half of kvreplay: records models, learns policies, checks replays against the live model, draws results.

Rooms: common <- recorder | learning | validation | plot <- the programs record, train and validate beside this file.
"""

from importlib.metadata import version

VERSION = version("kvreplay")
