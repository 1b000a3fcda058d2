// Package steps defines the sentences: one file for each protocol, with its definitions and their code.
//
// A Library matches the text of a step to exactly one Definition. The runner calls its function with the World of the run.
// The World has the connections of the scenario and takes the reports of the step (phases, measurements, evidence). A step
// knows the observed system only as a Target, and secrets only by name. Errors are Failures, with a reason and a blame.
//
// A new sentence changes one file: write the Definition there and add it to the init of that file. The package starts no
// goroutine that outlives its World, reads no flag and knows no exporter.
package steps
