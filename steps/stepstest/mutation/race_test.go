//go:build race

package mutation_test

// racing says that the race detector is on, which takes memory and time.
const (
	racing = true
	slower = 5
)
