"""Questions of a user, and the verdict, cause and fix in answer."""
