// Package agent decides when scenarios run, runs each of them once, and hands the results on.
//
// A Plan is a scenario with its definitions bound. The Runner has an Executor run one Plan, times every step and returns a
// result: the plan goes in, the recorder takes down what becomes of its steps, and the result comes out. The Agent keeps the
// Schedule of all plans, never lets a scenario overlap itself, and gives each result to every Sink through a queue of its own,
// so that a slow sink delays nobody. The package knows neither godog, nor exporters, nor the configuration file: package
// cucumber runs scenarios through godog, and cmd wires the rest.
package agent
