"""A small language model over one stream of speech tokens: training, likelihood, continuation. Needs the extra `lm`.

Letters: B batch, L positions, D digits of a token, H hidden size, K codebook size. *Ids* are tokens 0 to K - 1, the
separator K, and from K + 1 on the characters of a text.
"""
