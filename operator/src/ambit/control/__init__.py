"""The operator: watches Ambit's resources, decides purely, and acts at the edge."""
