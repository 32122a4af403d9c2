"""Training data: manifests, the decoded-audio cache, random segments."""
