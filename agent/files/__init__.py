"""Transfer files below a service's folder, never outside it."""
