"""Which variant a call runs on: stored winners, the mode of a call, and the choice among them."""
