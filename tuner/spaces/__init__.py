"""What there is to search: workloads, problems and the configs of each stage."""
