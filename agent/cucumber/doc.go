// Package cucumber runs scenarios through godog, Cucumber for Go, with the steps and hooks of a team's own code.
//
// Only this package depends on godog v0.16.0. It relies on the following, which a contract test of package agent checks:
//   - a handler that takes only a context is called once for each matching step, in order, whatever the pattern captured,
//     and never again after a failed step;
//   - with Concurrency 1 everything happens in the calling goroutine;
//   - hooks are called in the order of their registration, those after a step and after the scenario even if it failed;
//   - Run returns 0 if the scenario and all its steps passed (Strict), and also if nothing ran at all, so the Run counts
//     the calls.
//
// Every execution is a separate godog run over a source with one pickle: a Concurrency above 1 mixes up the closures of
// different scenarios, and tags or line numbers cannot select an outline row. This package measures no time: the Run does.
//
// The Run, not this package, decides what a step does and keeps its result.
package cucumber
