// Package cucumber runs scenarios through godog, Cucumber for Go, with the steps and hooks that a team's own code registers.
//
// It is all that knows godog v0.16.0. What it relies on, and a contract test of package agent holds:
//   - a handler that takes nothing but a context is called once for each step that matches, in order, whatever the
//     pattern caught, and never again after one that failed;
//   - with Concurrency 1 everything happens in the calling goroutine;
//   - hooks are called in the order of their registration, those after a step and after the scenario also when it failed;
//   - Run returns 0 exactly when the scenario and all its steps passed (Strict), and also when nothing ran at all, which
//     is why the Run counts the calls.
//
// Every execution is a run of godog's own over a source that holds one pickle: Concurrency above 1 mixes up the closures of
// different scenarios, and tags or line numbers cannot select an outline row. Nothing here is timed: the Run times its own calls.
//
// It leaves out what a step does and what becomes of it: that is the Run's.
package cucumber
