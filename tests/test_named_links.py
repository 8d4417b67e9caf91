"""Links may be given by class or by name."""

import pytest

from jaxglm import families, links


@pytest.mark.dtype
@pytest.mark.parametrize("name", links.NAMED)
def test_a_name_stands_for_its_link(name):
    assert type(links.as_link(name)) is links.NAMED[name]


@pytest.mark.dtype
def test_families_take_names_and_classes():
    assert type(families.Poisson(link="sqrt").link) is links.Sqrt
    assert type(families.Gaussian(link=links.Log).link) is links.Log


@pytest.mark.dtype
def test_an_unknown_name_is_answered_with_a_close_one():
    with pytest.raises(ValueError, match="Did you mean 'logit'"):
        families.Binomial(link="logitt")
    with pytest.raises(ValueError, match="covers them"):
        families.Poisson(link="logit")
