"""What happens to builds: one serial loop decides, stores, and only then acts."""
