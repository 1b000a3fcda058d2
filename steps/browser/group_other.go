//go:build !linux

package browser

import "os/exec"

// isolate, endGroup and endWithin do nothing here: a browser's children end by themselves when it does.
func isolate(*exec.Cmd) {}
func endGroup(int)      {}
func endWithin(string)  {}
