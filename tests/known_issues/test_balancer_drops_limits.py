"""``loss.limits`` mean nothing to a balancer: refused, not dropped."""

from __future__ import annotations

import pytest
from test_training_modes import recipe

from sqcodec.training.objective import Objective
from sqcodec.training.recipe import LossRecipe


def test_limits_and_a_balancer_are_refused(tiny_config) -> None:
    Objective(recipe(tiny_config, LossRecipe(limits={"mel": 1.0})))
    Objective(recipe(tiny_config, LossRecipe(balancer=True)))
    with pytest.raises(ValueError, match=r"loss.limits is {'mel': 1.0} and loss.balancer is true.*balancer=false"):
        Objective(recipe(tiny_config, LossRecipe(limits={"mel": 1.0}, balancer=True)))
