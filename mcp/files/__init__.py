"""Copy files between the workstation and a service's folder."""
