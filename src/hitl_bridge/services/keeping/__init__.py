"""What keeps a bridge running: setting up, health, access, leases, backups, and what was set aside."""
