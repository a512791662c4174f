"""Join methods that break their contract."""
