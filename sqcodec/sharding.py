"""The name of before of ``sqcodec.distributed``, for one version."""

from sqcodec.distributed import *  # noqa: F403
