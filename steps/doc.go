// Package steps is the core of the language: what a sentence is, how the text of a step finds the one that it means, and what
// a run has. It knows no subject; those are the packages below it, the rooms.
//
// A Library matches the text of a step to exactly one Definition. The runner calls its function with the World of the run.
// The World has the connections of the scenario and takes the reports of the step (phases, measurements, evidence). A step
// knows the observed system only as a Target, and secrets only by name. Errors are Failures, with a reason and a blame.
//
// A room registers its sentences, kinds of parameters, settings and chapters of the catalogue from init; package builtin
// links all rooms. The package starts no goroutine that outlives its World, reads no flag and knows no exporter.
package steps
