//go:build !unix

package program

import (
	"os"
	"os/exec"
)

// Without process groups, only the program itself is ended.
func ownGroup(*exec.Cmd) (release func()) { return func() {} }

func endGroup(*exec.Cmd) {}

func signalOf(*os.ProcessState) string { return "" }
