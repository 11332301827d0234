"""Transfer files below a service's folder, and nowhere else."""
