"""float32 keeps the digits that the README states, or says by its status that it cannot."""

import numpy as np
import pytest
from cases import FEW_PAIRS
from digits import measure

# The fewest digits of coefficients (in standard errors), standard errors and deviance.
STATED = {"plain": (5.0, 5.5, 5.5), "units": (5.0, 5.5, 5.5), "shifted": (5.0, 5.5, 5.5)}


@pytest.mark.nightly
@pytest.mark.parametrize(("family", "link"), FEW_PAIRS, ids=["-".join(p) for p in FEW_PAIRS])
def test_single_precision_keeps_the_stated_digits(family, link):
    for design, (*digits, converged) in measure(family, link).items():
        assert np.all(np.array(digits) >= STATED[design]), (design, digits)
        assert converged > 0.5, design
