"""AWS played on this machine, and the story that walks through it."""
