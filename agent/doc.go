// Package agent decides when scenarios run, runs each of them, and distributes the results.
//
// A Plan is a scenario with its definitions bound. The Runner runs one Plan through an Executor, times every step and returns
// a result; the recorder records the results of the steps. The Agent keeps the schedule of all plans, never runs a scenario
// twice at once, and sends each result to every Sink through a separate queue, so that a slow sink delays no other. The
// package does not depend on godog, exporters or the configuration file: package cucumber runs scenarios through godog
// where that is asked for or a team's own code takes part, and cmd connects the rest.
package agent
