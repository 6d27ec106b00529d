"""What is done at each path. A handler takes an Exchange that has passed every step, and returns an Answer."""
