// Package agent decides when scenarios run, runs each of them once, and hands the results on.
//
// A Plan is a scenario with its definitions bound. The Runner executes one Plan through godog, times every step and
// returns a result. The Agent keeps the Schedule of all plans, never lets a scenario overlap itself, and gives each
// result to every Sink through a queue of its own, so that a slow sink delays nobody. The package knows neither
// exporters nor the configuration file; cmd wires them.
package agent
