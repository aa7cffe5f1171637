"""Trees spread over several writers: who writes which partition, who follows, and where an account is."""
