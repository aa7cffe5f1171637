"""Agent: policy's verdict, an account under its Budget, and what its sessions meet."""
