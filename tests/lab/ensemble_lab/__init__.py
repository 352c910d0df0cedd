# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lab: hypervisors with a libvirtd of their own, as system containers on one machine."""
