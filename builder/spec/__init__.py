"""The kernel spec: what a person declares, validated, and its identity."""
