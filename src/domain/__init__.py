"""What the service is about: requests, messages, generations, ports and workflows. No I/O, no framework."""
