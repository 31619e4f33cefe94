"""What to do when the database is older than what has happened: pause, show, go on."""
