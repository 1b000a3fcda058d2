package history

func writeUntilKilled(string) {}
