# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The proof of the quorum lease by simulation: see docs/election.md."""
