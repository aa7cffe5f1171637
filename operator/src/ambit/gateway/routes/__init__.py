"""What the apiserver says, as the gateway needs it: objects by watching, provider keys where reading is granted."""
