"""How good a codec is, beside the ones people know.

`utterances` lists what is coded, `systems` and `baselines` code it, `alignment` and `scorers` compare it with
what went in, `evaluate` runs all of it in parallel and resumably, `report` and its neighbours write it down.

Letters: T samples, K codebook size. Samples are float32 or float64 [T], mono, full scale at -1 and 1. Only the
modules that adapt a package import it; a missing one is a `MissingExtra` that says what to install.
"""
