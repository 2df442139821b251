"""What people see. Reads the store and core.events; the engine does not know this room."""
