package cmd

import (
	"log"
	"strings"
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

// TestLibraryLog drops only what a server can make a library write without end.
func TestLibraryLog(t *testing.T) {
	var out strings.Builder
	logger := log.New(libraryLog{&out}, "", 0)
	logger.Printf("Transport: unhandled response frame type %T", t)
	logger.Print("kept")
	if out.String() != "kept\n" {
		t.Errorf("%q", out.String())
	}
}
