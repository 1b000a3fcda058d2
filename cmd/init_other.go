//go:build !linux

package cmd

// asInit is for the containers of Linux; elsewhere no program that is started is process 1.
func asInit() int { return exitNotRun }
