//go:build race

package agent

// yearDefault is the number of days that TestYear simulates: the race detector makes them ten times as long.
const yearDefault = 30
