"""Tokens of a corpus: written in shards by a pool of processes or Ray, read back by position.

``corpus.tokenize`` writes, ``TokenDataset`` reads; ``sqcodec tokens`` is the command. Letters: N tokens, T samples,
K codebook size.
"""
