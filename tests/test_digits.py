"""float32 keeps the digits that the README states, or says by its status that it cannot."""

import numpy as np
import pytest
from cases import FEW_PAIRS
from digits import measure

# The fewest digits of coefficients (in standard errors), standard errors and deviance.
STATED = {"plain": (4.5, 5.0, 5.0), "units": (4.5, 5.0, 5.0), "shifted": (4.0, 2.0, 5.0)}


@pytest.mark.nightly
@pytest.mark.parametrize(("family", "link"), FEW_PAIRS, ids=["-".join(p) for p in FEW_PAIRS])
def test_single_precision_keeps_the_stated_digits(family, link):
    for design, (*digits, converged) in measure(family, link).items():
        assert np.all(np.array(digits) >= STATED[design]), (design, digits)
        assert converged > 0.5, design
