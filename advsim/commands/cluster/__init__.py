"""Commands that are about a service on Ray: submit a training to one, serve a simulator as one."""
