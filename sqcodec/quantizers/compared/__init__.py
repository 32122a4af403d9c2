"""Quantizers that are there to be compared with (docs/quantizers.md).

A kind is one file: its settings, a class after ``QuantizerConfig`` that says ``kinds``, and its network, a class after
``Quantizer`` that names these settings. They are imported when a configuration asks for a kind that is not fsp, fsq,
nested or vp.
"""

from sqcodec.quantizers.compared import (  # noqa: F401 - registers the kinds, in this order
    continuous,
    library,
    mapped,
    nonstationary,
    regular,
    several,
    stochastic,
)
