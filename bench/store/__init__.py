"""Times the results database and the commands on it at a size that years of tuning reach."""
