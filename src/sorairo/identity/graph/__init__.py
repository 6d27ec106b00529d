"""Microsoft Graph v1.0, as much of it as a directory of applications, users and groups needs."""
