//go:build !race

package agent

// yearDefault is the number of days that TestYear simulates.
const yearDefault = 365
