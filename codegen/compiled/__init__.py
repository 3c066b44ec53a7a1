"""What reads compiled code: resources, machine code, loops and occupancy."""
