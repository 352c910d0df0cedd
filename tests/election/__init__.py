# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Real agents on real members under every fault of docs/election.md: short by default, all of it with `make chaos`."""
