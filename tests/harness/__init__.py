# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the integration tests and the benchmarks share: a lab that is up, and controllers that work on it."""
