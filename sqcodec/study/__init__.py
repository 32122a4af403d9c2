"""The quantizer study: many quantizers on one backbone, with the same data, seeds and steps."""
