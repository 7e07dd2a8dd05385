"""The WhatsApp libraries behind one interface, and a simulated one."""
