package cmd

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets tests run this very program as a process of its own, without building it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"stepwatch": func() { Main() },
		"ownsteps":  func() { Main(endings) },
	})
}
