//go:build !race

package mutation_test

const (
	racing = false
	slower = 1
)
