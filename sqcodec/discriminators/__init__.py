"""Discriminators: small networks that learn to tell decoded audio from recordings, and their configuration."""

from sqcodec.discriminators.ensemble import DiscriminatorConfig, Discriminators, Judgement

__all__ = ["DiscriminatorConfig", "Discriminators", "Judgement"]
