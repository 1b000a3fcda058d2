// Package exporters carries results to the outside: a page that Prometheus scrapes, the output of a Nagios plugin.
//
// Each destination is one file that holds all there is to it: its configuration with defaults and validation, its
// registration and its code. The core knows the destinations by name only, and an exporter knows the agent by its
// results and its Stats only. Reading a configuration file is left to the caller, so no file format is chosen here.
package exporters

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Exporter takes the result of every run. Export is called from any number of goroutines at once and never changes the
// result, which others read at the same time. It should come back in microseconds: what waits for a network belongs in
// the exporter's own goroutine, which Close then ends.
//
// More than that is optional and found by type assertion: Endpoint, Closer.
type Exporter interface {
	Export(*result.Result)
}

// Endpoint is an Exporter that is asked over HTTP instead of sending.
type Endpoint interface {
	Exporter
	Path() string // where the handler wants to be, such as "/metrics"
	Handler() http.Handler
}

// Closer is an Exporter that holds something to send or to give back. Close sends what is still queued for as long as
// ctx allows, and says what was lost. A second Close does nothing and returns nil. Export after Close is allowed and
// has no effect on the outside.
type Closer interface {
	Exporter
	Close(ctx context.Context) error
}

// Host is what an exporter may use of the program around it. The zero value is a program without an agent.
type Host struct {
	Stats   func() result.Stats // what the agent did about its schedule, and which scenarios are loaded; nil without an agent
	Version string              // of stepwatch, as its build says; empty when unknown
	Log     *slog.Logger        // nil for no log
}

// log gives the host's logger, or one that writes nowhere.
func (h Host) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// Config is the configuration of one exporter: a pointer to a struct that holds the defaults until a configuration
// block is decoded over them.
type Config interface {
	// Validate says what cannot work, by the name of the setting. It opens and reads nothing.
	Validate() error
	// New makes the exporter. It is called only after Validate found nothing.
	New(Host) (Exporter, error)
}

// Registry holds the kinds of exporters by name. The zero value is empty and ready. Registering while another goroutine
// uses the registry is not allowed: it happens in init functions and at the start of tests.
type Registry struct {
	kinds map[string]func() Config
}

// Builtin holds the exporters of this package. Each file's init adds its own.
var Builtin = new(Registry)

// Register adds a kind. defaults gives a fresh configuration at each call. A name that is empty or taken panics, because
// it is a mistake in the program and not in its input.
func (r *Registry) Register(name string, defaults func() Config) {
	if name == "" {
		panic("exporters: an exporter without a name")
	}
	if _, taken := r.kinds[name]; taken {
		panic(fmt.Sprintf("exporters: the name %q is registered twice", name))
	}
	if r.kinds == nil {
		r.kinds = make(map[string]func() Config)
	}
	r.kinds[name] = defaults
}

// Names lists the kinds in alphabetical order.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.kinds))
	for name := range r.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Configure gives the validated configuration of the exporter called name. decode writes the block of the configuration
// file into the struct that it is handed and refuses fields which that struct does not have; nil means no block, thus
// the defaults. Nothing is opened, so a configuration can be checked without running it.
func (r *Registry) Configure(name string, decode func(into any) error) (Config, error) {
	defaults, known := r.kinds[name]
	if !known {
		return nil, fmt.Errorf("no exporter is called %q, there are: %s", name, strings.Join(r.Names(), ", "))
	}
	config := defaults()
	if decode != nil {
		if err := decode(config); err != nil {
			return nil, fmt.Errorf("read the settings of exporter %q: %w", name, err)
		}
	}
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("settings of exporter %q: %w", name, err)
	}
	return config, nil
}
