"""Tokens as a language model wants them: strings, entries of a text tokenizer, small factors, merged units.

Letters: N tokens, D digits of a token (the quantizer's dimensions), K codebook size.
"""
