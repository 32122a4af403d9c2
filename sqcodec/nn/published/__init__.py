"""The networks of SQCodec and L3AC as their authors published them, and what makes them fast on a CPU.

``network`` is the reference, made of ``encoder``, ``decoder``, ``attention``, ``tconv`` and ``layers``. The rest
computes the same: ``coder`` with ``prepared``, ``blocked`` and ``snake`` for inference, ``time_major`` with
``differentiable`` for training. The reference stays as it is, layout [B, C, T] and all: the authors' weights and parity
with their packages depend on it.
"""

from sqcodec.nn.published.coder import ChunkedCoder
from sqcodec.nn.published.network import WaveformNetwork

__all__ = ["ChunkedCoder", "WaveformNetwork"]
