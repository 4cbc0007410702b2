"""What every part of wisp uses: errors, secrets, masking, isolation of processes, and the version."""
