"""The local Azure: everything that plays Azure or Kubernetes on a developer's machine. The product never imports it."""
