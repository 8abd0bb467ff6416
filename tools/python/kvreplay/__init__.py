"""The Python half of kvreplay: records models, learns policies, checks replays against the live model.

Rooms: common <- recorder | learning | validation <- the programs record, train and validate beside this file.
"""

from importlib.metadata import version

VERSION = version("kvreplay")
