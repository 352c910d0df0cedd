# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Take the output files of the smoke test's job out of an account's home: print them, then remove them.

The request is a JSON object: ``user`` and ``job`` (its id). Prints one JSON object, file name to content.
"""

import glob
import json
import os
import pwd
import sys

request = json.loads(sys.argv[1])
home = pwd.getpwnam(request["user"]).pw_dir
texts = {}
for path in sorted(glob.glob(os.path.join(glob.escape(home), "ensemble-smoke.o{}.*".format(request["job"])))):
    with open(path, encoding="utf-8", errors="replace") as output:
        texts[os.path.basename(path)] = output.read(4096)
    os.unlink(path)
print(json.dumps(texts, sort_keys=True))
