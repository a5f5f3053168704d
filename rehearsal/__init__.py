"""An emulator of AWS on this machine, and the scenario that runs on it."""
