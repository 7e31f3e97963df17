"""What the whole-system tests share: made-up data, its oracle, places to keep it, and the binary."""
