"""What the system tests share: generated data, its oracle, places for files, and the binary."""
