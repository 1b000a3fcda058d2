// Package bench holds the benchmarks that say how fast stepwatch is and how true its numbers are, beside what it is
// compared with, in the same run on the same machine. They give figures and never a verdict: README.md says how to run
// and read them.
package bench
