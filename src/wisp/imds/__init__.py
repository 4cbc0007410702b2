"""The instance metadata service's token endpoint: what a workload asks of it and what it hears. Pure throughout."""
