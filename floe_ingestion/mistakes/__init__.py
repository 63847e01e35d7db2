"""How the mistakes of a floe.yaml are found all at once, each with its line, and put into words."""
