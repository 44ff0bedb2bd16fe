"""What can be seen of a farm from outside."""
