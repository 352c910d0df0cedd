# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Faults at random moments on a real lab: short by default, long with `make chaos`."""
