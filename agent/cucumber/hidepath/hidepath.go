// Package hidepath keeps godog from starting a program.
//
// godog v0.16.0 runs "go env GOTOOLDIR" while its packages are initialised, whatever it is imported for. A monitor must
// start nothing that its user did not name, and the eight milliseconds that it takes are most of a cold check. Without
// $PATH godog finds no "go" and goes on without the answer, which only its own command needs.
//
// It works by the order of initialisation (Go specification, "Program initialization": the first package by import path
// all of whose imports are initialised comes next). This package imports os alone, so it comes before everything that
// imports os/exec. Importing it beside godog and calling Restore from an init function is all there is to do.
package hidepath

import "os"

var path, isSet = hide()

func hide() (string, bool) {
	path, isSet := os.LookupEnv("PATH")
	_ = os.Unsetenv("PATH") // fails on no system that stepwatch is for
	return path, isSet
}

// Restore puts $PATH back as the process got it.
func Restore() {
	if isSet {
		_ = os.Setenv("PATH", path)
	}
}
