"""What Ambit says of itself: metric, reason and log names, each defined once, here."""
