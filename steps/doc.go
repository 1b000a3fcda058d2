// Package steps is what sentences mean: one file a protocol, each with its definitions and the code behind them.
//
// A Library matches the text of a step to exactly one Definition. The runner calls its function with the World of the
// run, which holds that scenario's connections and takes what the step reports (phases, measurements, evidence). A step
// knows the system under observation only as a Target, and secrets only by name. Errors are Failures: they know their
// reason and whose fault they are.
//
// Adding a sentence touches one file: write the Definition there and add it to that file's init. The package starts no
// goroutine that outlives its World, reads no flag and knows no exporter.
package steps
