"""Floor 11: bootstrap, jackknife, permutation tests and cross-validation: lanes of `fit_many`."""

from jaxglm.resample.folds import CrossValidation, cross_validate
from jaxglm.resample.permutations import PermutationTest, permutation_test
from jaxglm.resample.refits import Bootstrap, Jackknife, bootstrap, jackknife

__all__ = [
    "Bootstrap",
    "CrossValidation",
    "Jackknife",
    "PermutationTest",
    "bootstrap",
    "cross_validate",
    "jackknife",
    "permutation_test",
]
