"""What all tests share: hypothesis draws the same examples everywhere, so that a failure can be repeated."""

from __future__ import annotations

import os

from hypothesis import settings

# Examples follow from the test itself; TWINBRAIN_HYPOTHESIS=default explores new ones instead.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("TWINBRAIN_HYPOTHESIS", "fixed"))
