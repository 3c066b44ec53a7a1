"""What is searched: workloads, their problems, and the configs of each stage."""
